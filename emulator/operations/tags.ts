import { z } from 'zod'
import { badRequest } from '../api-error.ts'
import { type Call, type Operation, on } from '../operation.ts'
import { read, tags } from '../read-input.ts'
import { stage } from '../rest-apis.ts'

const TAGS = '/tags/:arn'

export const tagOperations = {
  TagResource: {
    ...on('PUT', TAGS, 204),
    run(call) {
      const tagged = taggedResource(call)
      const { tags: added } = read(z.object({ tags }), call.body)
      // Those of AWS's own that it has already are not checked again.
      const own = Object.entries(tagged.tags ?? {}).filter(([key]) => !key.startsWith('aws:'))
      read(tags, { ...Object.fromEntries(own), ...added })
      tagged.tags = { ...tagged.tags, ...added }
    },
  },
  UntagResource: {
    ...on('DELETE', TAGS, 204),
    run(call) {
      const tagged = taggedResource(call)
      const removed = call.lists['tagKeys'] ?? []
      if (removed.length === 0) throw badRequest('Invalid request input: tagKeys is required')
      if (removed.some((key) => key.startsWith('aws:')))
        throw badRequest('Tag keys that start with aws: cannot be removed')
      tagged.tags = Object.fromEntries(
        Object.entries(tagged.tags ?? {}).filter(([key]) => !removed.includes(key)),
      )
    },
  },
  GetTags: { ...on('GET', TAGS, 200), run: (call) => ({ tags: taggedResource(call).tags ?? {} }) },
} satisfies Record<string, Operation>

/** Finds what an ARN names. @throws ApiError 400, 404 */
function taggedResource({ account, options, params }: Call): { tags?: Record<string, string> } {
  const [, region, kind = '', id = '', stageName] =
    params['arn']?.match(
      /^arn:aws:apigateway:([a-z0-9-]+)::\/(restapis|usageplans|apikeys|domainnames)\/([^/]+)(?:\/stages\/([^/]+))?$/,
    ) ?? []
  if (region !== options.region || (stageName !== undefined && kind !== 'restapis'))
    throw badRequest('Invalid ARN specified in the request')
  if (stageName !== undefined) return stage(account.restApis.get(id), stageName)
  if (kind === 'restapis') return account.restApis.get(id)
  if (kind === 'usageplans') return account.plan(id)
  if (kind === 'apikeys') return account.key(id)
  return account.domains.get(id)
}
