
# What the commands above do not offer: images and containers of the store by name, and files and directories with all their characters.
_treering_known() {
    local kind at=1 root=()
    while ((at < COMP_CWORD)); do
        if [[ ${COMP_WORDS[at]} == --root ]]; then
            # An equals sign is a word of its own for readline.
            [[ ${COMP_WORDS[at + 1]} != = ]] || ((at++))
            root=(--root "${COMP_WORDS[at + 1]/#\~/$HOME}")
        fi
        ((at++))
    done
    for kind; do
        case $kind in
        images)
            "${COMP_WORDS[0]}" "${root[@]}" images 2>/dev/null |
                awk 'NR > 1 && $1 != "<none>" && $2 != "<none>" { print $1 ":" $2 }'
            ;;
        containers)
            "${COMP_WORDS[0]}" "${root[@]}" ps -a 2>/dev/null | awk 'NR > 1 { print $NF }'
            ;;
        esac
    done | grep -E '^[A-Za-z0-9._/:@-]+$'
}

_treering_paths() {
    # -d for directories alone, -f for files too. No blank behind a directory, and names are quoted as the shell needs it.
    compopt -o filenames 2>/dev/null
    local IFS=$'\n'
    COMPREPLY=($(compgen "$1" -- "$cur"))
}

_treering_names() {
    local whole=$cur prefix
    # A colon begins a new word for readline; what stands before it is there already.
    prefix=${COMP_LINE:0:COMP_POINT}
    prefix=${prefix##*[[:space:]]}
    whole=$prefix
    local IFS=$'\n'
    # The words are expanded as the shell does it: there may be nothing in them that it takes for code.
    COMPREPLY=($(compgen -W "$(_treering_known "$@")" -- "$whole"))
    case $whole in
    *:*) COMPREPLY=("${COMPREPLY[@]#"${whole%"${whole##*:}"}"}") ;;
    esac
}

# Files or directories, and names.
_treering_both() {
    _treering_paths "$1"
    local paths=("${COMPREPLY[@]}")
    _treering_names "${@:2}"
    COMPREPLY=("${paths[@]}" "${COMPREPLY[@]}")
}

_treering_words() {
    local cur=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} verb='' operands=0 word
    local at=1
    while ((at < COMP_CWORD)); do
        word=${COMP_WORDS[at]}
        case $word in
        --root)
            [[ ${COMP_WORDS[at + 1]} != = ]] || ((at++))
            ((at++))
            ;;
        -*) ;;
        :) ;;
        *)
            case $verb in
            '') verb=$word ;;
            image | container) verb="$verb $word" ;;
            *) [[ ${COMP_WORDS[at - 1]} == : ]] || ((operands++)) ;;
            esac
            ;;
        esac
        ((at++))
    done
    # A name with a colon in it is one operand, and the one at hand.
    word=${COMP_LINE:0:COMP_POINT}
    word=${word##*[[:space:]]}
    if [[ $word == *:* ]] && ((operands > 0)); then ((operands--)); fi
    case $before in
    -i | --input | -o | --output | --iidfile | --ignore-file | --base-snapshot | --previous | --metadata-file | --env-file)
        # -i of what runs commands is a flag.
        if [[ $before != -i || $verb == load || $verb == "image load" ]]; then
            _treering_paths -f
            return
        fi
        ;;
    --root | --upper | --lower)
        _treering_paths -d
        return
        ;;
    --base | --rebase)
        _treering_names images
        return
        ;;
    esac
    if [[ -z $verb || $cur == -* ]]; then
        _treering "$@"
        return
    fi
    case $verb in
    commit)
        if ((operands == 0)); then _treering_both -d containers; else _treering_names images; fi
        ;;
    unpack)
        if ((operands == 0)); then _treering_names images; else _treering_paths -d; fi
        ;;
    checkout)
        if ((operands == 0)); then _treering_names images; else _treering_both -d containers; fi
        ;;
    save | rmi | tag | history | ls | cat | push | edit | images | \
        "image save" | "image rm" | "image tag" | "image history" | "image inspect" | "image push")
        _treering_names images
        ;;
    inspect | export | "container inspect")
        _treering_names images containers
        ;;
    diff)
        _treering_both -f images containers
        ;;
    run | "container run")
        if ((operands == 0)); then _treering_both -d images containers; else _treering_paths -f; fi
        ;;
    create | "container create")
        if ((operands == 0)); then _treering_names images; else _treering_paths -f; fi
        ;;
    exec | "container exec")
        if ((operands == 0)); then _treering_names containers; else _treering_paths -f; fi
        ;;
    start | stop | restart | kill | wait | attach | logs | rename | rm | \
        "container start" | "container stop" | "container restart" | "container kill" | "container wait" | \
        "container attach" | "container logs" | "container rename" | "container rm")
        _treering_names containers
        ;;
    snapshot | clone)
        _treering_paths -d
        ;;
    import | load | build | "image import" | "image load")
        _treering_paths -f
        ;;
    *)
        _treering "$@"
        [[ ${#COMPREPLY[@]} -gt 0 ]] || _treering_paths -f
        ;;
    esac
}

complete -o bashdefault -o default -F _treering_words treering
