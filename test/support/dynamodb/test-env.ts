/**
 * Points this process and its children at a stand-in for DynamoDB, with credentials that it accepts. A developer's own
 * profile or session must not reach a test, and the SDK does not work without credentials.
 */
export function useDynamoDbAt(endpoint: string): void {
  for (const name of ['AWS_PROFILE', 'AWS_SESSION_TOKEN']) delete process.env[name]
  Object.assign(process.env, {
    DYNAMODB_ENDPOINT_FOR_TESTS: endpoint,
    AWS_REGION: 'eu-west-1',
    AWS_ACCESS_KEY_ID: 'test',
    AWS_SECRET_ACCESS_KEY: 'test',
  })
}

/** The endpoint that {@link useDynamoDbAt} set, here or in the process that started this one. */
export const dynamoDbEndpoint = (): string | undefined => process.env['DYNAMODB_ENDPOINT_FOR_TESTS']
