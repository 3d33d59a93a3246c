#!/usr/bin/env bash
# Fetches the files that VERSIONS.txt names in each folder given, from the npm registry; a package
# whose integrity is another than the one written down changes nothing.
set -euo pipefail

refresh() {
    local folder=$1 fetched=$2 package version licence integrity rest tarball actual
    while read -r package version licence integrity rest; do
        case $package in "" | "#"*) continue ;; esac
        if [ -z "$licence" ]; then
            tar -xzOf "$tarball" "package/$package" >"$fetched/new"
            cp "$fetched/new" "$folder/$version"
            (cd "$folder" && sha256sum "$version") >>"$fetched/sums"
            continue
        fi
        tarball=$fetched/$(cd "$fetched" && npm pack --silent "$package@$version")
        actual=sha512-$(openssl dgst -sha512 -binary "$tarball" | base64 -w 0)
        if [ "$actual" != "$integrity" ]; then
            echo "$package $version is not what VERSIONS.txt says: $actual" >&2
            return 1
        fi
        echo "$package $version"
    done <"$folder/VERSIONS.txt"
    mv "$fetched/sums" "$folder/SHA256SUMS"
}

for folder in "$@"; do
    fetched=$(mktemp -d)
    trap 'rm -rf "$fetched"' EXIT
    refresh "$folder" "$fetched"
    rm -rf "$fetched"
done
