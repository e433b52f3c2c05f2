import { notFound } from '../api-error.ts'
import { type Operation, on } from '../operation.ts'
import { ACCOUNT_ID } from '../rest-apis.ts'

/** The second API of API Gateway, which knows HTTP APIs and WebSocket APIs, and no REST API. */
export const httpApiOperations = {
  GetApi: {
    ...on('GET', '/v2/apis/:apiId', 200),
    run({ options, params }) {
      const api = options.httpApis.find(({ apiId }) => apiId === params['apiId'])
      if (api === undefined)
        throw notFound(`Invalid API identifier specified ${ACCOUNT_ID}:${params['apiId']}`)
      return {
        ...api,
        protocolType: 'HTTP',
        apiEndpoint: `https://${api.apiId}.execute-api.${options.region}.amazonaws.com`,
        apiKeySelectionExpression: '$request.header.x-api-key',
        routeSelectionExpression: '$request.method $request.path',
        createdDate: new Date(0).toISOString(),
        disableExecuteApiEndpoint: false,
        tags: {},
      }
    },
  },
} satisfies Record<string, Operation>
