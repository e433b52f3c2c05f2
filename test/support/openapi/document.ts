import { buildApp } from '../../../src/app.ts'
import { readConfig } from '../../../src/config.ts'
import { createDeps } from '../../../src/deps.ts'
import { createLogger } from '../../../src/log.ts'

/** Returns `/openapi.json` of a service at https://keys.example.com, the content of `docs/openapi.json`. */
export async function openapiText(): Promise<string> {
  const config = readConfig({
    AWS_REGION: 'eu-west-1',
    USAGE_PLAN_ID: 'abc123',
    API_BASE_URL: 'https://api.example.com/v1',
    PUBLIC_URL: 'https://keys.example.com',
    STORE: 'sqlite::memory:',
  })
  const deps = await createDeps(config, createLogger('silent'))
  const app = await buildApp(deps)
  try {
    const { payload } = await app.inject('/openapi.json')
    return `${JSON.stringify(JSON.parse(payload), null, 2)}\n`
  } finally {
    await app.close()
    await deps.close()
  }
}
