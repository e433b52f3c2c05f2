import assert from 'node:assert/strict'
import { stripTypeScriptTypes } from 'node:module'
import { test } from 'node:test'
import fc from 'fast-check'
import { parse } from 'yaml'
import { z } from 'zod'
import { type PatchTool, printPatch } from '../../../src/setup/patches/print-patch.ts'
import { cfnLint, parseWithPython } from '../../support/cfn-lint/cfn-lint.ts'
import { hardTexts, patchWith, plainTexts, type Texts } from '../../support/patches.ts'

/** Reads a document as YAML 1.2 and as the older 1.1, which must have the same meaning. */
function parseYaml(document: string): unknown {
  const options = { strict: true, uniqueKeys: true, logLevel: 'error' } as const
  const value: unknown = parse(document, { ...options, version: '1.2' })
  assert.deepEqual(parse(document, { ...options, version: '1.1' }), value)
  return value
}

/** Calls the function of a CDK module, and returns what it sets and makes. */
function runCdk(module: string, { path }: Texts): unknown {
  const code = stripTypeScriptTypes(module)
    .replace(/^import .*$/m, '')
    .replace(/^export /m, '')
  const plans: unknown[] = []
  class CfnUsagePlan {
    constructor(_: unknown, ...created: unknown[]) {
      plans.push(created)
    }
    applyRemovalPolicy() {}
  }
  const definition = { apiKeyRequired: false }
  const found = { httpMethod: 'GET', resource: { path: `/${path}` }, node: { defaultChild: definition } }
  const api = { node: { defaultChild: {} }, methods: [found], restApiId: 'API' }
  const run = new Function('apigateway', 'RemovalPolicy', 'api', 'stage', `${code}\nrequireKeys(api, stage)`)
  run({ CfnUsagePlan, ApiKeySourceType: {} }, {}, api, { stageName: 'STAGE' })
  assert.equal(definition.apiKeyRequired, true)
  return plans
}

const templateSchema = z.object({ Resources: z.record(z.string(), z.unknown()) })

/** A template whose resources have numbers for names: theirs come from the texts. */
function numbered(template: unknown): unknown {
  const ids = Object.keys(templateSchema.parse(template).Resources)
  const rename = (value: unknown): unknown => {
    if (typeof value === 'string') return ids.includes(value) ? `resource ${ids.indexOf(value)}` : value
    if (Array.isArray(value)) return value.map(rename)
    if (typeof value !== 'object' || value === null) return value
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [rename(key), rename(one)]))
  }
  return rename(template)
}

const readers: Record<Exclude<PatchTool, 'terraform'>, (document: string, texts: Texts) => unknown> = {
  cloudformation: (document) => numbered(parseYaml(document)),
  sam: (document) => parseYaml(document),
  openapi: (document) => parseYaml(document),
  cdk: runCdk,
}

for (const [tool, read] of Object.entries(readers) as [keyof typeof readers, (typeof readers)['cdk']][])
  test(`no text that others chose breaks out of its place: ${tool}`, () => {
    const property = fc.property(hardTexts, (texts) => {
      const { plain, harden } = plainTexts(texts)
      const found = read(printPatch(tool, patchWith(texts)), texts)
      assert.deepEqual(found, harden(read(printPatch(tool, patchWith(plain)), plain)))
    })
    fc.assert(property, { numRuns: 100 })
  })

/** The meaning of a string of HCL, in which `$${` and `%%{` stand for what would begin a template. */
function unescapeHcl(literal: string): string {
  const json = literal
    .replaceAll(/([$%])\1(?=\{)/g, '$1')
    // JSON writes a character beyond U+FFFF as two units.
    .replaceAll(/\\U000([0-9a-f]{5})/g, (_, code: string) =>
      JSON.stringify(String.fromCodePoint(Number.parseInt(code, 16))).slice(1, -1),
    )
  return z.string().parse(JSON.parse(json))
}

/** The types of the printed resources. The name of a resource, which comes from a text, can begin with `aws_` too. */
const RESOURCE_TYPE = /^"aws_api_gateway_(?:rest_api|method|deployment|stage|usage_plan)"$/

/** A parsed configuration without comments, with the meaning of its strings, and without the names that come from the texts. */
function readHcl(value: unknown): unknown {
  if (typeof value === 'string') {
    if (value.startsWith('"')) return unescapeHcl(value)
    return value.replaceAll(/(aws_api_gateway_\w+)\.\w+/g, '$1.NAME')
  }
  if (Array.isArray(value)) return value.map(readHcl)
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).filter(([key]) => key !== '__comments__')
  const isNamed = (one: unknown) => typeof one === 'object' && one !== null && '__is_block__' in one
  return Object.fromEntries(
    entries.map(([key, one]) => {
      if (!key.startsWith('"') || RESOURCE_TYPE.test(key)) return [key, readHcl(one)]
      return [isNamed(one) ? 'NAME' : unescapeHcl(key), readHcl(one)]
    }),
  )
}

test(
  'no text that others chose breaks out of its place: the parsers of CloudFormation, SAM and Terraform',
  cfnLint,
  () => {
    const all = fc.sample(hardTexts, 20).map((texts) => ({ texts, ...plainTexts(texts) }))
    const kinds = { cloudformation: 'template', sam: 'template', terraform: 'hcl' } as const
    for (const [tool, kind] of Object.entries(kinds) as [keyof typeof kinds, 'template' | 'hcl'][]) {
      const documents = all.flatMap(({ texts, plain }) =>
        [texts, plain].map((one) => ({ kind, text: printPatch(tool, patchWith(one)) })),
      )
      const parsed = parseWithPython(documents)
      const read = kind === 'hcl' ? readHcl : numbered
      for (const [i, { harden, texts }] of all.entries())
        assert.deepEqual(
          read(parsed[2 * i]),
          harden(read(parsed[2 * i + 1])),
          printPatch(tool, patchWith(texts)),
        )
    }
  },
)
