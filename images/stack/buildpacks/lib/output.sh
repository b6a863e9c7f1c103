# What the buildpacks of this stack share: how they speak, and how they read the app's variables. Sourced by their programs.

step() { printf -- '-----> %s\n' "$*"; }
detail() { printf '       %s\n' "$*"; }
warn() { printf ' !     %s\n' "$*"; }
indent() { sed -u 's/^/       /'; }

# Words for the person who pushed, then the end.
fail() {
  local line
  for line in "$@"; do warn "$line"; done
  exit 1
}

# take_env ENV_DIR PATTERN...: exports the app's variables whose whole name matches one of the shell patterns, and no other.
take_env() {
  local directory=$1 file name pattern
  shift
  for file in "$directory"/*; do
    [ -f "$file" ] || continue
    name=${file##*/}
    [[ $name =~ ^[A-Za-z_][A-Za-z0-9_]*$ ]] || continue
    for pattern in "$@"; do
      # shellcheck disable=SC2053
      if [[ $name == $pattern ]]; then
        export "$name=$(cat "$file")"
        break
      fi
    done
  done
}

# build_env ENV_DIR: names of variables that the app wants its own build steps to see, from its variable BUILD_ENV.
build_env() {
  local names=()
  [ -f "$1/BUILD_ENV" ] && read -r -d '' -a names < <(tr ',\n' '  ' < "$1/BUILD_ENV"; printf '\0')
  [ ${#names[@]} -eq 0 ] || take_env "$1" "${names[@]}"
}
