/** The control-plane operations that the emulator implements. */
export const operationNames = [
  'CreateApiKey',
  'ImportApiKeys',
  'GetApiKeys',
  'GetApiKey',
  'UpdateApiKey',
  'DeleteApiKey',

  'CreateUsagePlan',
  'GetUsagePlans',
  'GetUsagePlan',
  'UpdateUsagePlan',
  'DeleteUsagePlan',
  'CreateUsagePlanKey',
  'GetUsagePlanKeys',
  'GetUsagePlanKey',
  'DeleteUsagePlanKey',
  'GetUsage',
  'UpdateUsage',

  'CreateRestApi',
  'GetRestApis',
  'GetRestApi',
  'UpdateRestApi',
  'DeleteRestApi',

  'GetResources',
  'CreateResource',
  'GetResource',
  'DeleteResource',
  'PutMethod',
  'GetMethod',
  'UpdateMethod',
  'DeleteMethod',
  'PutMethodResponse',
  'PutIntegration',
  'GetIntegration',
  'PutIntegrationResponse',

  'CreateDeployment',
  'GetDeployments',
  'GetDeployment',
  'DeleteDeployment',
  'CreateStage',
  'GetStages',
  'GetStage',
  'UpdateStage',
  'DeleteStage',

  'GetAccount',
] as const

export type OperationName = (typeof operationNames)[number]
