import type { TestContext } from 'node:test'
import { startProgram } from '../server-process.ts'

/** Starts the demo on a free port, and stops it, with its service, at the end of the test. */
export async function startDemo(t: TestContext): Promise<{ url: string; token: string }> {
  // Registered before that of startProgram, which kills the demo and would leave its service behind.
  t.after(async () => {
    demo.child.kill('SIGINT')
    await demo.ended()
  })
  const demo = startProgram(t, 'demo/main.ts', ['--port', '0'], {})
  const [, url = ''] = await demo.seen(/firstkey is ready on (http:\S+)/)
  const [token] = await demo.seen(/fkb_[0-9A-Za-z]{38}/)
  return { url, token }
}
