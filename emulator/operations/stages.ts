import { z } from 'zod'
import { type Call, type Operation, on } from '../operation.ts'
import { read, readPatches, tags } from '../read-input.ts'
import { replaceFields } from '../replace-fields.ts'
import type { Stage } from '../rest-api.ts'
import { changedStage, stage } from '../rest-apis.ts'
import { patchStage } from './stage-patches.ts'

const texts = z.record(z.string(), z.string())
const newStage = z.object({
  stageName: z.string().min(1),
  deploymentId: z.string().min(1),
  description: z.string().exactOptional(),
  cacheClusterEnabled: z.boolean().exactOptional(),
  cacheClusterSize: z.string().exactOptional(),
  variables: texts.exactOptional(),
  documentationVersion: z.string().exactOptional(),
  canarySettings: z
    .object({
      percentTraffic: z.number().min(0).max(100).default(0),
      deploymentId: z.string().exactOptional(),
      stageVariableOverrides: texts.exactOptional(),
      useStageCache: z.boolean().default(false),
    })
    .exactOptional(),
  tracingEnabled: z.boolean().exactOptional(),
  tags: tags.exactOptional(),
})

export const stageOperations = {
  CreateStage: {
    ...on('POST', '/restapis/:apiId/stages', 201),
    run: (call) => stageBody(call.account.restApis.addStage(apiOf(call), read(newStage, call.body))),
  },
  GetStages: {
    ...on('GET', '/restapis/:apiId/stages', 200),
    run: (call) => {
      const { deploymentId } = call.query
      const found = [...apiOf(call).stages.values()].filter(
        (own) => deploymentId === undefined || own.deploymentId === deploymentId,
      )
      return { item: found.map(stageBody) }
    },
  },
  GetStage: {
    ...on('GET', '/restapis/:apiId/stages/:stageName', 200),
    run: (call) => stageBody(stageOf(call)),
  },
  UpdateStage: {
    ...on('PATCH', '/restapis/:apiId/stages/:stageName', 200),
    run(call) {
      const api = apiOf(call)
      const own = stageOf(call)
      // Tried on a copy first: all changes are made, or none.
      const copy = structuredClone(own)
      for (const one of readPatches(call.body)) patchStage(api, copy, one)
      changedStage(api, replaceFields(own, copy))
      return stageBody(own)
    },
  },
  DeleteStage: {
    ...on('DELETE', '/restapis/:apiId/stages/:stageName', 202),
    run: (call) => call.account.deleteStage(apiOf(call), stageOf(call).stageName),
  },
} satisfies Record<string, Operation>

const apiOf = ({ account, params }: Call) => account.restApis.get(params['apiId'] ?? '')
const stageOf = (call: Call) => stage(apiOf(call), call.params['stageName'] ?? '')

function stageBody({ serial: _, createdAt, updatedAt, ...rest }: Stage) {
  return {
    ...rest,
    cacheClusterStatus: rest.cacheClusterEnabled ? 'AVAILABLE' : 'NOT_AVAILABLE',
    createdDate: Math.floor(createdAt / 1_000),
    lastUpdatedDate: Math.floor(updatedAt / 1_000),
  }
}
