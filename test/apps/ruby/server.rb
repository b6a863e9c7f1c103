# Answers "Hello from ruby" with nothing but Ruby's own sockets.
require "socket"

$stdout.sync = true
trap("TERM") { exit 0 }
port = Integer(ENV.fetch("PORT"))
server = TCPServer.new("0.0.0.0", port)
puts "listening on #{port}"
loop do
  Thread.new(server.accept) do |client|
    while (line = client.gets) && line != "\r\n"
    end
    body = "#{ENV.fetch("GREETING", "Hello")} from ruby (#{ENV["RACK_ENV"]})\n"
    client.write("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: #{body.bytesize}\r\nconnection: close\r\n\r\n#{body}")
  rescue SystemCallError
    nil
  ensure
    client.close
  end
end
