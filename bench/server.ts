import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import getPort from 'get-port'
import { defaultGatewayOptions } from '../emulator/options.ts'
import { memoryMb, root, stopProcess } from './process.ts'

export interface BenchServer {
  readonly url: string
  /** Milliseconds from the start of the process to the first 200 of `/readyz`. */
  readonly coldStartMs: number
  /** The file of its SQLite store. */
  readonly storeFile: string
  /** Reads the resident memory, current or peak, in megabytes (10^6 bytes). */
  memoryMb(when: 'now' | 'peak'): number
  /** Creates a bootstrap token without limits with the CLI. @returns its secret */
  createToken(): string
  stop(): Promise<void>
}

/** Returns the environment variables that point a program at an emulator. */
export function gatewayEnv(gatewayUrl: string): Record<string, string> {
  return {
    AWS_REGION: defaultGatewayOptions.region,
    AWS_ACCESS_KEY_ID: defaultGatewayOptions.accessKeyId,
    AWS_SECRET_ACCESS_KEY: defaultGatewayOptions.secretAccessKey,
    AWS_ENDPOINT_URL_API_GATEWAY: gatewayUrl,
    USAGE_PLAN_ID: 'demofree',
  }
}

/** Returns the URL of the protected API behind an emulator. */
export const apiUrlOf = (gatewayUrl: string): string => `${gatewayUrl}/execute-api/demo/prod/hello`

/** Starts the service as a separate process on SQLite, its durable default store, in a temporary folder. */
export async function startBenchServer(
  gatewayUrl: string,
  settings: Readonly<Record<string, string>> = {},
): Promise<BenchServer> {
  const dir = mkdtempSync(join(tmpdir(), 'firstkey-bench-'))
  const port = await getPort()
  const storeFile = join(dir, 'firstkey.db')
  const env = {
    PATH: process.env['PATH'],
    HOME: dir,
    ...gatewayEnv(gatewayUrl),
    API_BASE_URL: apiUrlOf(gatewayUrl),
    STORE: `sqlite:${storeFile}`,
    RATE_LIMIT_PER_IP: '0',
    PORT: String(port),
    HOST: '127.0.0.1',
    ...settings,
  }
  const url = `http://127.0.0.1:${port}`
  const startedAt = performance.now()
  const child = spawn(process.execPath, startArguments(), {
    cwd: root,
    env,
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  await ready(`${url}/readyz`, child)
  const coldStartMs = performance.now() - startedAt
  return {
    url,
    coldStartMs,
    storeFile,
    memoryMb: (when) => memoryMb(child, when),
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
      await stopProcess(child)
      rmSync(dir, { recursive: true, force: true })
    },
  }
}

async function ready(url: string, child: ChildProcess): Promise<void> {
  for (;;) {
    if (child.exitCode !== null) throw new Error('the service exited before it was ready')
    const ok = await fetch(url).then(
      (response) => response.ok,
      () => false,
    )
    if (ok) return
    await sleep(10)
  }
}

/** Returns the arguments that `npm start` passes to node. */
function startArguments(): string[] {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  return scripts.start.split(' ').slice(1)
}
