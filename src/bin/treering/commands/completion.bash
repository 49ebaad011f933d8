
# What the commands above do not offer: images of the store by name, and files and directories with all their characters.
_treering_images() {
    local at=1 root=()
    while ((at < COMP_CWORD)); do
        if [[ ${COMP_WORDS[at]} == --root ]]; then
            # An equals sign is a word of its own for readline.
            [[ ${COMP_WORDS[at + 1]} != = ]] || ((at++))
            root=(--root "${COMP_WORDS[at + 1]/#\~/$HOME}")
        fi
        ((at++))
    done
    "${COMP_WORDS[0]}" "${root[@]}" images 2>/dev/null | awk 'NR > 1 && $1 != "<none>" { print $1 ":" $2 }'
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
    COMPREPLY=($(compgen -W "$(_treering_images)" -- "$whole"))
    case $whole in
    *:*) COMPREPLY=("${COMPREPLY[@]#"${whole%"${whole##*:}"}"}") ;;
    esac
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
        *) if [[ -z $verb ]]; then verb=$word; elif [[ ${COMP_WORDS[at - 1]} != : ]]; then ((operands++)); fi ;;
        esac
        ((at++))
    done
    # A name with a colon in it is one operand, and the one at hand.
    word=${COMP_LINE:0:COMP_POINT}
    word=${word##*[[:space:]]}
    if [[ $word == *:* ]] && ((operands > 0)); then ((operands--)); fi
    case $before in
    -i | --input | -o | --output | --iidfile | --ignore-file | --base-snapshot | --previous | --metadata-file)
        _treering_paths -f
        return
        ;;
    --root | --upper | --lower)
        _treering_paths -d
        return
        ;;
    --base | --rebase)
        _treering_names
        return
        ;;
    esac
    if [[ -z $verb || $cur == -* ]]; then
        _treering "$@"
        return
    fi
    case $verb in
    commit)
        if ((operands == 0)); then _treering_paths -d; else _treering_names; fi
        ;;
    unpack | checkout)
        if ((operands == 0)); then _treering_names; else _treering_paths -d; fi
        ;;
    save | rmi | tag | history | inspect | export | ls | cat | push | edit | images)
        _treering_names
        ;;
    diff)
        _treering_paths -f
        local paths=("${COMPREPLY[@]}")
        _treering_names
        COMPREPLY=("${paths[@]}" "${COMPREPLY[@]}")
        ;;
    snapshot | clone | run)
        _treering_paths -d
        ;;
    import | load | build)
        _treering_paths -f
        ;;
    *)
        _treering "$@"
        [[ ${#COMPREPLY[@]} -gt 0 ]] || _treering_paths -f
        ;;
    esac
}

complete -o bashdefault -o default -F _treering_words treering
