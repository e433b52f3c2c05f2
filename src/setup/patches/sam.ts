import {
  existingPlans,
  methodName,
  planResources,
  type Resources,
  refuseDynamicReferences,
} from './cloudformation.ts'
import { uniqueNames } from './identifiers.ts'
import { type ApiPatch, heading } from './patch.ts'
import { yamlDocument } from './yaml-document.ts'

/**
 * Returns a SAM template with the API, the events of its functions and the usage plans.
 * @throws Error if a text cannot be written in a template
 */
export function samPatch(patch: ApiPatch): string {
  refuseDynamicReferences(patch)
  const named = uniqueNames()
  const api = named(patch.api.logicalId ?? 'Api')
  const isPreflight = ({ httpMethod }: { httpMethod: string }) => httpMethod === 'OPTIONS'
  const single = patch.isWholeApi ? patch.methods.filter(isPreflight) : patch.methods
  const event = uniqueNames()
  const events = Object.fromEntries(
    single.map(({ path, httpMethod }) => [
      event(methodName({ path, httpMethod })),
      {
        Type: 'Api',
        Properties: {
          RestApiId: { Ref: api },
          Path: path,
          Method: httpMethod === 'ANY' ? 'any' : httpMethod.toLowerCase(),
          Auth: { ApiKeyRequired: true },
        },
      },
    ]),
  )
  const resources: Resources = {
    [api]: {
      Type: 'AWS::Serverless::Api',
      Properties: {
        Name: patch.api.name,
        StageName: patch.stage,
        ApiKeySourceType: 'HEADER',
        Auth: {
          ...(patch.isWholeApi ? { ApiKeyRequired: true } : {}),
          AddApiKeyRequiredToCorsPreflight: patch.methods.some(isPreflight),
        },
      },
    },
    ...(single.length === 0
      ? {}
      : {
          [named('Function')]: {
            Type: 'AWS::Serverless::Function',
            Properties: {
              InlineCode: 'exports.handler = async () => ({ statusCode: 200 })',
              Handler: 'index.handler',
              Runtime: 'nodejs22.x',
              Events: events,
            },
          },
        }),
    ...planResources(patch, named, { Ref: api }, { Ref: `${api}.Stage` }),
  }
  const comment = [
    heading(patch),
    'Merge it into the template that owns the API:',
    `- ${api}: set ApiKeySourceType and Auth. Without AddApiKeyRequiredToCorsPreflight: false the preflight needs the key as well.`,
    ...(single.length === 0
      ? []
      : ['- Function stands for your functions: set Auth.ApiKeyRequired on the events of these methods.']),
    '- Usage plans: add them. Auth.UsagePlan would make an API key too, knows one plan, and no limits of single methods.',
    ...existingPlans(patch),
    'SAM deploys the API anew by itself.',
  ]
  return yamlDocument(comment, {
    AWSTemplateFormatVersion: '2010-09-09',
    Transform: 'AWS::Serverless-2016-10-31',
    Resources: resources,
  })
}
