// SPDX-License-Identifier: Apache-2.0
// The fetch client of test/http: fetch.mjs HOST VARIABLE. Prints one line for
// each call: status, length and hash of the body.
import { createHash } from 'node:crypto'

const [host, variable] = process.argv.slice(2)
const headers = { authorization: 'Bearer ' + process.env[variable] }
const large = Buffer.alloc(5 << 20, 'the same line, again and again\n')

async function call(name, path, options = {}) {
  try {
    const r = await fetch('https://' + host + path, { redirect: 'manual', ...options, headers: { ...headers, ...options.headers } })
    const body = Buffer.from(await r.arrayBuffer())
    console.log(name + ':', r.status, r.redirected, body.length, createHash('sha256').update(body).digest('hex'), r.headers.get('location'))
  } catch (e) {
    console.log(name + ':', e.name, e.cause?.code)
  }
}

function pieces(count) {
  let i = 0
  return new ReadableStream({
    pull(controller) {
      if (i === count) controller.close()
      else controller.enqueue(Buffer.from('piece ' + i++ + '\n'))
    },
  })
}

await call('get', '/echo')
await call('target', '/echo/a%2Fb//c;d?x=+%20&y;z')
await call('head', '/large', { method: 'HEAD' })
await call('text', '/echo', { method: 'POST', body: 'hello' })
await call('form', '/echo', { method: 'POST', body: new URLSearchParams({ a: 'b c', d: 'é' }) })
await call('upload', '/echo', { method: 'PUT', body: large })
await call('chunked upload', '/echo', { method: 'PUT', body: pieces(20000), duplex: 'half' })
await call('empty', '/echo', { method: 'POST' })
await call('delete', '/echo', { method: 'DELETE' })
await call('204', '/204')
await call('304', '/304')
await call('404', '/nothing')
await call('503', '/503', { method: 'POST', body: 'x' })
await call('redirect', '/redirect')
await call('redirect followed', '/redirect', { redirect: 'follow' })
await call('large', '/large')
await call('stream', '/stream')
await call('gzip', '/gzip')
await call('early', '/early', { method: 'POST', body: 'hello' })
const r = await fetch('https://' + host + '/stream', { headers })
let text = ''
for await (const part of r.body.pipeThrough(new TextDecoderStream())) text += part
console.log('lines:', text.split('\n\n').length)
await Promise.all([...Array(20).keys()].map((i) => fetch('https://' + host + '/echo/' + i, { method: 'POST', headers, body: 'x'.repeat(i * 1000) }).then((r) => r.text())))
  .then((texts) => texts.forEach((t, i) => console.log('parallel', i, t.trim())))
const controller = new AbortController()
await fetch('https://' + host + '/endless', { headers, signal: controller.signal }).then(async (r) => {
  for await (const _ of r.body) controller.abort()
}).catch((e) => console.log('aborted:', e.name))
