import { z } from 'zod'
import type { Call, Operation } from '../operation.ts'
import { on } from '../operation.ts'
import { page, serialOf } from '../page.ts'
import { read } from '../read-input.ts'
import type { Resource } from '../rest-api.ts'
import { deleteResource, resource } from '../rest-apis.ts'

const newResource = z.object({ pathPart: z.string() })

export const resourceOperations = {
  GetResources: {
    ...on('GET', '/restapis/:apiId/resources', 200),
    run: (call) =>
      page([...apiOf(call).resources.values()], call.query, serialOf, (own) =>
        resourceBody(own, wantsMethods(call)),
      ),
  },
  CreateResource: {
    ...on('POST', '/restapis/:apiId/resources/:resourceId', 201),
    run: (call) => {
      const { pathPart } = read(newResource, call.body)
      return resourceBody(
        call.account.restApis.addResource(apiOf(call), call.params['resourceId'] ?? '', pathPart),
        false,
      )
    },
  },
  GetResource: {
    ...on('GET', '/restapis/:apiId/resources/:resourceId', 200),
    run: (call) => resourceBody(resource(apiOf(call), call.params['resourceId'] ?? ''), wantsMethods(call)),
  },
  DeleteResource: {
    ...on('DELETE', '/restapis/:apiId/resources/:resourceId', 202),
    run: (call) => deleteResource(apiOf(call), call.params['resourceId'] ?? ''),
  },
} satisfies Record<string, Operation>

const apiOf = ({ account, params }: Call) => account.restApis.get(params['apiId'] ?? '')
const wantsMethods = ({ lists }: Call) => lists['embed']?.includes('methods') === true

/** Without `withMethods`, API Gateway names the methods only: `{"GET": {}}`. */
function resourceBody({ serial: _, methods, ...rest }: Resource, withMethods: boolean) {
  if (methods.size === 0) return rest
  const resourceMethods = Object.fromEntries(
    [...methods].map(([name, own]) => [name, withMethods ? own : {}]),
  )
  return { ...rest, resourceMethods }
}
