// The baseline of bench:burst: POST /register as it is usually written, two calls with the SDK's defaults.
import { APIGatewayClient, CreateApiKeyCommand, CreateUsagePlanKeyCommand } from '@aws-sdk/client-api-gateway'
import Fastify from 'fastify'

const client = new APIGatewayClient({ region: process.env['AWS_REGION'] ?? '' })
const usagePlanId = process.env['USAGE_PLAN_ID'] ?? ''

const app = Fastify()
app.post<{ Body: { name: string } }>('/register', async ({ body }, reply) => {
  const key = await client.send(new CreateApiKeyCommand({ name: body.name, enabled: true }))
  await client.send(new CreateUsagePlanKeyCommand({ usagePlanId, keyId: key.id, keyType: 'API_KEY' }))
  return reply.code(201).send({ api_key_id: key.id, api_key_value: key.value })
})
process.stdout.write(`${await app.listen({ host: '127.0.0.1', port: 0, backlog: 4_096 })}\n`)
process.once('SIGTERM', () => process.exit(0))
