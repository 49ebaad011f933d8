#!/bin/sh
# What a command may do to owners, modes, devices and attributes, each in a directory of its own, and what it sees of it.
# Whatever user runs this in a tree, by whatever way, it prints the same and leaves a layer of the same bytes.
set -e
umask 022
part() {
  echo "== $1"
  mkdir "/$1"
  cd "/$1"
}
refused() { "$@" 2>&- || echo refused; }

part owners
touch f && chown 33:44 f && ln -s f link && chown -h 5:6 link && stat -c '%n %u:%g' f link
touch s && chmod 6755 s && stat -c %a s && chown 0:0 s && stat -c %a s
touch t && chmod 2644 t && chown 1:1 t && stat -c %a t
mkdir d && chmod 2775 d && chgrp 33 d && touch d/f && mkdir d/d && stat -c '%n %a %u:%g' d d/f d/d
touch h && chown 7:8 h && ln h h2 && mv h h3 && stat -c '%n %u:%g %h' h2 h3
mkdir none && chmod 0 none && touch locked && chmod 0 locked && stat -c '%n %a' none locked
touch w && chmod 4755 w && echo x >w && stat -c %a w

part capabilities
touch f g && tool capability f && tool hex f security.capability
tool capability g && chown 5:6 g && refused tool hex g security.capability
cp /bin/busybox p && tool capability p && echo x >>p && refused tool hex p security.capability

part devices
mknod c c 1 3 && mknod b b 7 200 && mkfifo p && mknod big c 300 70000 && chown 5:6 c && chmod 620 c
stat -c '%n %F %a %u:%g %t,%T' c b p big && find . -xdev -type c | sort && tool types .
rm b && touch b && stat -c '%F' b

part lists
mkdir d a && tool acl d system.posix_acl_default && tool acl a system.posix_acl_access && tool hex a system.posix_acl_access
touch d/f && mkdir d/d && touch d/d/f && chmod 750 a && stat -c '%n %a' d a d/f d/d d/d/f
tool list d && tool list d/f && tool list d/d | sort && tool hex d/f system.posix_acl_access

part attributes
touch a
tool set a trusted.x one && tool get a trusted.x && tool set a trusted.y two && tool list a
tool remove a trusted.y && refused tool get a trusted.y && refused tool as 5 5 /bin/tool get a trusted.x
touch b && tool set b trusted.x one && chown 5:6 b && chmod 4750 b && tool get b trusted.x && stat -c '%a %u:%g' b
touch c && tool set c trusted.x one && tool capability c && tool remove c trusted.x && tool hex c security.capability

part users
mkdir -p /etc && echo 'root:x:0:0::/:/bin/sh' >/etc/passwd && echo 'app:x:1234:1235::/users/home:/bin/sh' >>/etc/passwd
echo 'app:x:1235:' >/etc/group && mkdir home && chown 1234:1235 home && chmod 700 home
su app -c 'id -u; cd; touch x; mkdir d; mkfifo p; chmod 600 x'
stat -c '%n %a %u:%g' home home/x home/d home/p
su app -c 'chown 0 /users/home/x 2>&- || echo refused; touch /etc/y 2>&- || echo refused'
cp /bin/tool root && chmod 4755 root && tool as 5 6 /users/root as 0 0 /bin/busybox id -u

part copies
tar -C / -cf - owners users attributes | tar -xf - && cp -a /owners again && cp -a /users/home home
find . | sort | xargs stat -c '%n %a %u:%g' && stat -c %h owners/h2 again/h3

part threads
tool threads
tool recycle 300
tool ring
