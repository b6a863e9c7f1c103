mkdir -p /tmp/www
echo "Hello from cnb, build $COUNT, $GREETING" > /tmp/www/index.html
exec httpd -f -p "$PORT" -h /tmp/www
