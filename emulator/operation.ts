import type { IncomingHttpHeaders } from 'node:http'
import type { Account } from './account.ts'
import type { Fault } from './faults.ts'
import type { GatewayOptions } from './options.ts'
import type { Usage } from './usage.ts'

/** The input of an operation. */
export interface Call {
  readonly options: GatewayOptions
  readonly account: Account
  readonly usage: Usage
  readonly params: Readonly<Record<string, string>>
  /** The query parameters; of one that is given several times, the last value. */
  readonly query: Readonly<Record<string, string>>
  /** The query parameters with all their values. */
  readonly lists: Readonly<Record<string, readonly string[]>>
  readonly headers: IncomingHttpHeaders
  /** The parsed JSON, or the CSV text of an import. */
  readonly body: unknown
  readonly fault: Fault | undefined
}

export interface Operation {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  readonly path: string
  readonly status: number
  /** Synchronous, so that it takes effect completely or not at all. */
  run(call: Call): unknown
}

export function on<M extends Operation['method']>(method: M, path: string, status: number) {
  return { method, path, status }
}

/** The answer of an operation that is no JSON, or has headers. */
export class RawAnswer {
  readonly body: string
  readonly headers: Readonly<Record<string, string>>

  constructor(body: string, headers: Readonly<Record<string, string>>) {
    this.body = body
    this.headers = headers
  }
}
