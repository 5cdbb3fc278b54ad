#!/bin/sh
# Makes an image that stands in for python:3.13-slim where no image registry can be reached, under
# that name, in buildah's store. It is not that image: its Debian comes from debootstrap, and its
# Python is the 3.13 that `uv python` or a build of yours has put into the folder that is given.
# Only for `make images-check`; what is published is built on the real one.
#
#   deploy/images/stand-in.sh /path/to/python-3.13    # needs root, debootstrap and buildah
set -eu
python=$(readlink -f "${1:?name the folder of a relocatable Python 3.13, with bin/ and lib/}")
"$python/bin/python3.13" --version
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
debootstrap --variant=minbase --include=ca-certificates,netbase,tzdata bookworm "$root"
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/doc/* \
  "$root"/usr/share/man/* "$root"/usr/share/locale/*
cp -a "$python/." "$root/usr/local/"
chroot "$root" /sbin/ldconfig
ln -sf python3.13 "$root/usr/local/bin/python3"
ln -sf python3.13 "$root/usr/local/bin/python"
image=$(buildah from scratch)
buildah copy --quiet "$image" "$root" /
buildah config --env PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin \
  --cmd python3 --label org.opencontainers.image.title="stand-in for python:3.13-slim" "$image"
buildah commit --quiet "$image" docker.io/library/python:3.13-slim
buildah rm "$image" >/dev/null
