import assert from 'node:assert/strict'
import { test } from 'node:test'
import { APIGatewayServiceException } from '@aws-sdk/client-api-gateway'
import { toServiceError } from '../../src/aws/errors.ts'

function answered(name: string, httpStatusCode: number): Error {
  return new APIGatewayServiceException({ name, $fault: 'client', $metadata: { httpStatusCode } })
}

test('the message of a wrong set-up says what is wrong', () => {
  const missing = Object.assign(new Error('no credentials'), { name: 'CredentialsProviderError' })
  const cases: [error: Error, message: string][] = [
    [missing, 'The service has no usable AWS credentials to read the usage plan.'],
    [answered('NotFoundException', 404), 'API Gateway cannot read the usage plan: it does not exist.'],
    [
      answered('AccessDeniedException', 403),
      'API Gateway does not allow the service to read the usage plan.',
    ],
    [answered('BadRequestException', 400), 'API Gateway rejected the request to read the usage plan.'],
  ]
  for (const [error, message] of cases) {
    const { code, message: actual } = toServiceError(error, 'read the usage plan', 'it')
    assert.deepEqual([code, actual], ['upstream_misconfigured', message])
  }
})
