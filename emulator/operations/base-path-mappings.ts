import { z } from 'zod'
import { notFound } from '../api-error.ts'
import type { BasePathMapping } from '../domain-name.ts'
import { type Call, type Operation, on } from '../operation.ts'
import { page, serialOf } from '../page.ts'
import { invalidPath, read, readPatches } from '../read-input.ts'

const MAPPINGS = '/domainnames/:domainName/basepathmappings'
const newMapping = z.object({
  basePath: z.string().optional(),
  restApiId: z.string().min(1),
  stage: z.string().exactOptional(),
})

export const basePathMappingOperations = {
  CreateBasePathMapping: {
    ...on('POST', MAPPINGS, 201),
    run(call) {
      const { basePath, ...order } = read(newMapping, call.body)
      const made = { ...order, basePath: basePath || '(none)' }
      return mappingBody(call.account.domains.map(domainOf(call), made))
    },
  },
  GetBasePathMappings: {
    ...on('GET', MAPPINGS, 200),
    run: (call) => page([...domainOf(call).mappings.values()], call.query, serialOf, mappingBody),
  },
  GetBasePathMapping: {
    ...on('GET', `${MAPPINGS}/:basePath`, 200),
    run: (call) => mappingBody(mappingOf(call)),
  },
  UpdateBasePathMapping: {
    ...on('PATCH', `${MAPPINGS}/:basePath`, 200),
    run(call) {
      const before = mappingOf(call)
      const after = { ...before }
      for (const patch of readPatches(call.body)) {
        if (patch.op !== 'replace') throw invalidPath(patch)
        if (patch.path === '/basePath') after.basePath = patch.value || '(none)'
        else if (patch.path === '/restapiId')
          after.restApiId = patch.value // So spelt in the API reference.
        else if (patch.path === '/stage') after.stage = patch.value
        else throw invalidPath(patch)
      }
      return mappingBody(call.account.domains.remap(domainOf(call), before, after))
    },
  },
  DeleteBasePathMapping: {
    ...on('DELETE', `${MAPPINGS}/:basePath`, 202),
    run: (call) => {
      domainOf(call).mappings.delete(mappingOf(call).basePath)
    },
  },
} satisfies Record<string, Operation>

const domainOf = ({ account, params }: Call) => account.domains.get(params['domainName'] ?? '')

function mappingOf(call: Call): BasePathMapping {
  const mapping = domainOf(call).mappings.get(call.params['basePath'] ?? '')
  if (mapping === undefined) throw notFound('Invalid base path mapping identifier specified')
  return mapping
}

const mappingBody = ({ serial: _, ...rest }: BasePathMapping) => rest
