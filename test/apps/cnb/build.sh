echo "of project.toml: ${OF_PROJECT-nothing}, $GREETING"
[ -e spec ] && echo "spec is here" || echo "spec is left out"
