import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import getPort from 'get-port'
import { defaultGatewayOptions } from '../src/local/options.ts'

const root = join(import.meta.dirname, '..')

export interface BenchServer {
  readonly url: string
  /** Milliseconds from starting the process to the first 200 of `/readyz`. */
  readonly coldStartMs: number
  /** Resident memory now, in megabytes (10^6 bytes). */
  memoryMb(): number
  /** Makes a bootstrap token without limits with the operator's command; answers its secret. */
  createToken(): string
  stop(): Promise<void>
}

/** Starts the service as a real process on its durable default store, in a folder of its own. */
export async function startBenchServer(gatewayUrl: string): Promise<BenchServer> {
  const dir = mkdtempSync(join(tmpdir(), 'firstkey-bench-'))
  const port = await getPort()
  const env = {
    PATH: process.env['PATH'],
    HOME: dir,
    AWS_REGION: defaultGatewayOptions.region,
    AWS_ACCESS_KEY_ID: defaultGatewayOptions.accessKeyId,
    AWS_SECRET_ACCESS_KEY: defaultGatewayOptions.secretAccessKey,
    AWS_ENDPOINT_URL_API_GATEWAY: gatewayUrl,
    USAGE_PLAN_ID: 'demofree',
    API_BASE_URL: `${gatewayUrl}/execute-api/demo/prod/hello`,
    STORE: `sqlite:${join(dir, 'firstkey.db')}`,
    RATE_LIMIT_PER_IP: '0',
    PORT: String(port),
    HOST: '127.0.0.1',
  }
  const url = `http://127.0.0.1:${port}`
  const startedAt = performance.now()
  const child = spawn(process.execPath, [join(root, 'src/start.js')], {
    env,
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  await ready(`${url}/readyz`, child)
  const coldStartMs = performance.now() - startedAt
  return {
    url,
    coldStartMs,
    memoryMb: () => residentMb(child),
    createToken: () =>
      execFileSync(
        process.execPath,
        [join(root, 'src/cli/main.ts'), 'tokens', 'create', '--label', 'bench'],
        {
          env,
          encoding: 'utf8',
          stdio: ['ignore', 'pipe', 'ignore'],
        },
      ).trim(),
    async stop() {
      const exit = once(child, 'exit')
      child.kill('SIGTERM')
      await exit
      rmSync(dir, { recursive: true, force: true })
    },
  }
}

async function ready(url: string, child: ChildProcess): Promise<void> {
  for (;;) {
    if (child.exitCode !== null) throw new Error('the service ended before it was ready')
    const ok = await fetch(url).then(
      (response) => response.ok,
      () => false,
    )
    if (ok) return
    await sleep(10)
  }
}

/** VmRSS of the process, where /proc tells it (Linux). */
function residentMb(child: ChildProcess): number {
  const status = readFileSync(`/proc/${child.pid}/status`, 'utf8')
  return (Number(status.match(/^VmRSS:\s+(\d+) kB/m)?.[1]) * 1_024) / 1e6
}
