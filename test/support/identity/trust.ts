import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { type Federation, openFederation } from '../../../src/auth/federation/federation.ts'
import { type Clock, systemClock } from '../../../src/clock.ts'
import type { ProxyVariables } from '../../../src/egress-proxy.ts'
import { createLogger } from '../../../src/log.ts'
import { tempDir } from '../service.ts'

/** Writes a trust file, which is JSON unless it is a text already. @returns its path */
export function writeTrust(t: TestContext, content: unknown, path = join(tempDir(t), 'trust.yaml')): string {
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content, null, 2))
  return path
}

export interface TestFederation {
  readonly federation: Federation
  readonly path: string
  readonly logLines: string[]
}

/** Opens the federation of a trust file as the service does. Its audience is `http://localhost:3000` unless the file names one. */
export function testFederation(
  t: TestContext,
  content: unknown,
  { clock = systemClock, proxies = {} }: { clock?: Clock; proxies?: ProxyVariables } = {},
): TestFederation {
  const path = writeTrust(t, content)
  const logLines: string[] = []
  const log = createLogger('trace', { write: (line) => void logLines.push(line) })
  const surroundings = { publicUrl: 'http://localhost:3000', plans: null, variable: () => undefined }
  return { federation: openFederation({ path, ...surroundings, proxies, clock, log }), path, logLines }
}
