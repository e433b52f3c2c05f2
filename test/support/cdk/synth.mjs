// node synth.mjs MODULE: prints the template of a CDK stack with an API, before and after the function of the module.
// It runs in a folder in which AWS CDK is installed.
import { join } from 'node:path'

const [, , file = ''] = process.argv
const { App, Stack, aws_apigateway: apigateway } = await import('aws-cdk-lib')
const { Template } = await import('aws-cdk-lib/assertions')
const { requireKeys } = await import(join(process.cwd(), file))

function synthesize(change) {
  const stack = new Stack(new App(), 'Stack')
  const api = new apigateway.RestApi(stack, 'Api', {
    defaultCorsPreflightOptions: { allowOrigins: ['*'] },
    deployOptions: { stageName: 'prod' },
  })
  const integration = new apigateway.MockIntegration({})
  api.root.addMethod('POST', integration)
  api.root.addResource('hello').addMethod('GET', integration)
  change(api)
  return Template.fromStack(stack).toJSON()
}

process.stdout.write(JSON.stringify([synthesize(() => undefined), synthesize(requireKeys)]))
