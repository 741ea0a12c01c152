// SPDX-License-Identifier: Apache-2.0
// A development server: pages, and a WebSocket that echoes one short text frame
// as one does for hot replacement. Without a package, on purpose.
const http = require('http'), net = require('net'), crypto = require('crypto')
const guid = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11' // RFC 6455, section 1.3
const server = http.createServer((request, response) => {
  if (request.url === '/late') {
    const late = net.createServer(s => s.end('late')).listen(3003, '127.0.0.1', () => response.end('listens'))
    late.unref()
    return
  }
  if (request.url === '/end') {
    response.end('bye', () => process.exit(0))
    return
  }
  response.end('page ' + request.url + ' of ' + request.headers.host)
})
server.on('upgrade', (request, socket) => {
  const accept = crypto.createHash('sha1').update(request.headers['sec-websocket-key'] + guid).digest('base64')
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`)
  socket.on('data', frame => {
    const text = Buffer.from(frame.subarray(6)).map((b, i) => b ^ frame[2 + i % 4])
    socket.write(Buffer.concat([Buffer.from([0x81, text.length]), text]))
  })
})
// Counts what it gets and answers when the other half has ended.
const counter = net.createServer({ allowHalfOpen: true }, socket => {
  let n = 0
  socket.on('data', data => { n += data.length })
  socket.on('end', () => socket.end('read ' + n))
})
server.listen(3000, '127.0.0.1', () => counter.listen(3001, '::1', () => console.log('ready')))
