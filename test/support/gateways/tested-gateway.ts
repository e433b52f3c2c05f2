import type { APIGatewayClient } from '@aws-sdk/client-api-gateway'
import type { Feature } from './features.ts'

/** An implementation of API Gateway that the suites of `doctor` and `setup` run against. */
export interface TestedGateway {
  readonly name: string
  /** The Region, the endpoint and the credentials, as the environment of a program that uses the gateway. */
  readonly env: Readonly<Record<string, string>>
  /** A client of the operator, which makes and breaks APIs. */
  readonly sdk: APIGatewayClient
  /** The URL of a stage at the data plane. */
  stageUrl(api: string, stage: string): string
  /** The features that it does not have: a case that needs one is skipped, and says so. */
  readonly lacks: readonly Feature[]
}

/** Sends a request with a key, or without one, to a path of a stage; returns the status. */
export async function statusOf(
  gateway: TestedGateway,
  { api, stage }: { api: string; stage: string },
  path: string,
  key?: string,
  method = 'GET',
): Promise<number> {
  const headers: Record<string, string> = key === undefined ? {} : { 'x-api-key': key }
  return (await fetch(`${gateway.stageUrl(api, stage)}${path}`, { method, headers })).status
}
