import { badRequest } from '../api-error.ts'
import { type Operation, on } from '../operation.ts'
import { invalidPath, readPatches } from '../read-input.ts'

export const accountOperations = {
  GetAccount: { ...on('GET', '/account', 200), run: ({ account }) => account.settings },
  UpdateAccount: {
    ...on('PATCH', '/account', 200),
    run({ account, body }) {
      // Tried on a copy first: all changes are made, or none.
      const copy = structuredClone(account.settings)
      for (const patch of readPatches(body)) {
        const { op, path, value } = patch
        if (op === 'replace' && path === '/cloudwatchRoleArn') {
          if (value !== '' && !/^arn:aws[\w-]*:iam::\d{12}:role\/.+$/.test(value))
            throw badRequest('The role ARN does not have required permissions configured.')
          copy.cloudwatchRoleArn = value
        } else if (op === 'add' && path === '/features' && value === 'UsagePlans') {
          // Usage plans are enabled for good (developer guide).
          copy.features = [...new Set([...copy.features, value])]
        } else throw invalidPath(patch)
      }
      return Object.assign(account.settings, copy)
    },
  },
} satisfies Record<string, Operation>
