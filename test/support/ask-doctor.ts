import { createRestApiReads } from '../../src/aws/rest-apis.ts'
import { readGatewayConfig } from '../../src/config.ts'
import { type Diagnosis, diagnose, type Question } from '../../src/setup/diagnose.ts'

/** Lets doctor look, as `firstkey doctor` does with these variables and options. */
export async function askDoctor(
  env: Readonly<Record<string, string>>,
  question: Partial<Question>,
): Promise<Diagnosis> {
  const environment = readGatewayConfig({ AWS_CALLS_PER_SECOND: '0', ...env })
  const reads = createRestApiReads({
    ...{ region: environment.region, endpoint: environment.apiGatewayEndpoint },
    ...{ proxies: environment.proxies, callsPerSecond: environment.callsPerSecond },
    ...{ callTimeoutMs: 60_000, observeDate: () => undefined, signal: AbortSignal.timeout(120_000) },
  })
  try {
    return await diagnose(reads, environment, { api: null, stage: null, key: null, ...question })
  } finally {
    reads.close()
  }
}
