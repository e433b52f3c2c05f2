import { z } from 'zod'
import { badRequest } from '../api-error.ts'
import { type Call, type Operation, on } from '../operation.ts'
import { page, serialOf } from '../page.ts'
import { read } from '../read-input.ts'
import type { Deployment } from '../rest-api.ts'
import { changedStage, deployment, requireStageName } from '../rest-apis.ts'

const newDeployment = z.object({
  stageName: z.string().min(1).optional(),
  stageDescription: z.string().exactOptional(),
  description: z.string().optional(),
  variables: z.record(z.string(), z.string()).exactOptional(),
  tracingEnabled: z.boolean().exactOptional(),
  canarySettings: z
    .object({
      percentTraffic: z.number().min(0).max(100).default(0),
      stageVariableOverrides: z.record(z.string(), z.string()).exactOptional(),
      useStageCache: z.boolean().default(false),
    })
    .optional(),
})

export const deploymentOperations = {
  CreateDeployment: {
    ...on('POST', '/restapis/:apiId/deployments', 201),
    run(call) {
      const api = apiOf(call)
      const order = read(newDeployment, call.body)
      const { stageName, stageDescription, description, canarySettings, ...settings } = order
      const stage = api.stages.get(stageName ?? '')
      if (canarySettings !== undefined && stage === undefined)
        throw badRequest(
          stageName === undefined
            ? 'Invalid deployment content specified.Non null and non empty stageName must be provided for canary deployment. Provided value is null'
            : `Invalid deployment content specified.Stage ${stageName} must already be created before making a canary release deployment`,
        )
      if (stageName !== undefined) requireStageName(stageName)
      const made = call.account.restApis.deploy(api, description)
      if (stageName === undefined) return deploymentBody(made)
      const changes = {
        ...settings,
        ...(stageDescription === undefined ? {} : { description: stageDescription }),
      }
      if (canarySettings !== undefined && stage !== undefined) {
        // The stage keeps its deployment, and the canary gets the new one.
        stage.canarySettings = { ...canarySettings, deploymentId: made.id }
        changedStage(api, Object.assign(stage, changes))
      } else if (stage === undefined)
        call.account.restApis.addStage(api, { stageName, ...changes, deploymentId: made.id })
      else changedStage(api, Object.assign(stage, changes, { deploymentId: made.id }))
      return deploymentBody(made)
    },
  },
  GetDeployments: {
    ...on('GET', '/restapis/:apiId/deployments', 200),
    run: (call) =>
      page([...apiOf(call).deployments.values()], call.query, serialOf, (one) => deploymentBody(one)),
  },
  GetDeployment: {
    ...on('GET', '/restapis/:apiId/deployments/:deploymentId', 200),
    run: (call) => {
      const found = deployment(apiOf(call), call.params['deploymentId'] ?? '')
      return deploymentBody(found, call.lists['embed']?.includes('apisummary') === true)
    },
  },
  DeleteDeployment: {
    ...on('DELETE', '/restapis/:apiId/deployments/:deploymentId', 202),
    run: (call) => {
      const api = apiOf(call)
      const { id } = deployment(api, call.params['deploymentId'] ?? '')
      for (const { deploymentId, canarySettings } of api.stages.values())
        if (deploymentId === id || canarySettings?.deploymentId === id)
          throw badRequest('Active stages pointing to this deployment must be moved or deleted')
      api.deployments.delete(id)
    },
  },
} satisfies Record<string, Operation>

const apiOf = ({ account, params }: Call) => account.restApis.get(params['apiId'] ?? '')

function deploymentBody({ id, description, createdAt, snapshot }: Deployment, withSummary = false) {
  const summary = () =>
    Object.fromEntries(
      [...snapshot.methods].map(([path, methods]) => [
        path,
        Object.fromEntries(
          [...methods].map(([name, { authorizationType, apiKeyRequired }]) => [
            name,
            { authorizationType, apiKeyRequired },
          ]),
        ),
      ]),
    )
  return {
    id,
    ...(description === undefined ? {} : { description }),
    createdDate: Math.floor(createdAt / 1_000),
    ...(withSummary ? { apiSummary: summary() } : {}),
  }
}
