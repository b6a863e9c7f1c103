# Runs, and never listens on its port.
trap 'exit 0' TERM INT
echo "never-healthy: thinking"
sleep 86400 &
wait $!
