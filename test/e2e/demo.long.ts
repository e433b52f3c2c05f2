import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createServer } from 'node:http'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { startProgram } from '../support/server-process.ts'

test('the demo keeps running, and the commands that it prints work as pasted', async (t) => {
  const demo = startProgram(t, 'demo/main.ts', [], {})
  await demo.seen(/Serving until Ctrl-C/)
  const [registerCommand, useCommand] = demo.output.stdout.match(/^ {2}curl .*$/gm) ?? []
  assert.ok(registerCommand && useCommand)

  const run = (command: string) => promisify(execFile)('sh', ['-c', `${command} --silent --fail`])
  assert.match((await run(registerCommand)).stdout, /"api_key_value":"[A-Za-z0-9]{40}"/)
  assert.match((await run(useCommand)).stdout, /Hello from the demo API/)

  demo.child.kill('SIGINT')
  assert.equal(await demo.ended(), 0)
  assert.equal(demo.output.stderr, '')
})

test('the demo finds free ports when the default ones are in use', async (t) => {
  for (const port of [3000, 4000]) {
    const squatter = createServer()
    squatter.on('error', () => undefined) // Another process has the port, which serves the test equally well.
    squatter.listen(port, '127.0.0.1')
    t.after(() => squatter.close())
  }
  const demo = startProgram(t, 'demo/main.ts', ['--once'], {})
  assert.equal(await demo.ended(), 0)
  assert.match(
    demo.output.stdout,
    /with an empty account\n2\. firstkey setup --new demo .* --yes\n {3}made: REST API demo\n/,
  )
  assert.match(demo.output.stdout, /with 5 keys made beforehand/)
  assert.match(demo.output.stdout, /→ 201 after \d+ ms\n[^}]*"ready": true/)
  assert.match(demo.output.stdout, /the new key → 200/)
  assert.match(demo.output.stdout, /without a key → 403/)
  assert.doesNotMatch(demo.output.stdout, /:3000|:4000/)
})

test('the demo with a login needs no token, and finishes by itself with --once', async (t) => {
  const demo = startProgram(t, 'demo/main.ts', ['--login', '--once', '--port', '0'], {})
  assert.equal(await demo.ended(), 0, demo.output.stdout + demo.output.stderr)
  const { stdout, stderr } = demo.output
  assert.match(stdout, /^ +api_key_id=\w+$/m)
  assert.match(stdout, /the new key → 200/)
  assert.match(stdout, /without a key → 403/)
  assert.doesNotMatch(stdout, /fkb_/)
  assert.equal(stderr, '')
})
