import fc from 'fast-check'
import type { EditedMethod } from '../../src/aws/rest-apis.ts'
import type { UsagePlan } from '../../src/aws/usage-plans.ts'
import type { Desired } from '../../src/setup/desired.ts'
import { type ApiPatch, type Present, toPatch } from '../../src/setup/patches/patch.ts'

export function method(httpMethod: string, path: string, authorizationType = 'NONE'): EditedMethod {
  const resourceId = `r${Buffer.from(path).toString('hex')}`
  return { path, httpMethod, authorizationType, apiKeyRequired: false, resourceId }
}

/** An API with methods of all kinds. */
export const present: Present = {
  api: { name: 'Orders', keySource: 'HEADER', tags: {} },
  methods: [
    method('GET', '/hello'),
    method('OPTIONS', '/hello'),
    method('ANY', '/hello/{proxy+}', 'CUSTOM'),
    method('POST', '/', 'AWS_IAM'),
  ],
  plans: [],
}

export const gold: UsagePlan = {
  usagePlanId: 'abcgold',
  name: 'Gold plan',
  stages: ['other:v1', 'a1b2c3:beta'],
  limits: { ratePerSecond: 7, burst: 9, quota: { limit: 100, period: 'WEEK' } },
  methodLimits: [
    { stage: 'other:v1', method: '//POST', ratePerSecond: 0.5, burst: null },
    { stage: 'a1b2c3:prod', method: '/hello/GET', ratePerSecond: 1, burst: 1 },
    { stage: 'a1b2c3:prod', method: '/hello/{proxy+}/ANY', ratePerSecond: 2, burst: 3 },
  ],
  productCode: 'prod-1',
  tags: { team: 'a b', 'aws:cloudformation:logical-id': 'GoldUsagePlan' },
}

/** The orders of `--plan` and `--methods` in one run. */
export const desired: Desired = {
  api: 'a1b2c3',
  stage: 'prod',
  plans: [
    {
      name: 'free',
      usagePlanId: null,
      throttle: { rate: 100, burst: 250 },
      quota: { limit: 10_000, period: 'DAY' },
    },
  ],
  methods: [{ httpMethod: 'GET', path: '/hello' }],
  methodThrottles: [{ method: { httpMethod: 'GET', path: '/hello' }, rate: 10, burst: 20 }],
}

const all = present.methods.filter(({ httpMethod }) => httpMethod !== 'OPTIONS')
const none = { throttle: null, quota: null } as const

/** Patches of all kinds, by what is special about them. */
export const samples: Readonly<Record<string, ApiPatch>> = {
  'one method': toPatch(desired, present),
  'all methods': toPatch({ ...desired, methods: all }, present),
  'OPTIONS too': toPatch({ ...desired, methods: present.methods }, present),
  'another source of the key': toPatch(desired, {
    ...present,
    api: { ...present.api, keySource: 'AUTHORIZER' },
  }),
  'only plans': toPatch({ ...desired, methods: [] }, present),
  'only methods': toPatch({ ...desired, plans: [], methodThrottles: [] }, present),
  'a plan that exists': toPatch(
    { ...desired, plans: [{ ...none, name: 'gold', usagePlanId: 'abcgold' }] },
    { ...present, plans: [gold] },
  ),
  'a plan without limits': toPatch(
    { ...desired, methodThrottles: [], plans: [{ ...none, name: 'none', usagePlanId: null }] },
    present,
  ),
  'many plans': toPatch(
    {
      ...desired,
      plans: Array.from({ length: 12 }, (_, i) => ({
        name: `${i % 2 === 0 ? 'a-b' : '1_'}${'x'.repeat(i)}`,
        usagePlanId: null,
        throttle: { rate: (i + 1) / 8, burst: i + 1 },
        quota: { limit: i + 1, period: (['DAY', 'WEEK', 'MONTH'] as const)[i % 3] ?? 'DAY' },
      })),
    },
    present,
  ),
  'names that collide': toPatch(
    {
      ...desired,
      methods: [method('GET', '/a-b'), method('GET', '/a/b'), method('GET', '/a_b')],
      plans: ['a-b', 'a_b', 'ab'].map((name) => ({ ...none, name, usagePlanId: null })),
    },
    { ...present, methods: [method('GET', '/a-b'), method('GET', '/a/b'), method('GET', '/a_b')] },
  ),
  'a stack that owns it': toPatch(desired, {
    ...present,
    api: { ...present.api, tags: { 'aws:cloudformation:logical-id': 'OrdersApi' } },
  }),
}

/** Pieces of text that mean something to a parser of one of the documents. */
const pieces = [
  ...[
    '"',
    "'",
    '`',
    '\\',
    '\\u0041',
    '\n',
    '\r\n',
    '\t',
    '\u0085',
    '\u2028',
    '\u2029',
    '\ufeff',
    '\0',
    '\x1b[31m',
    '\u202e',
  ],
  ...[
    '${',
    '$${',
    '%{',
    '{{',
    '}}',
    '{',
    '}',
    '[',
    ']',
    '(',
    ')',
    '#',
    ' # ',
    '//',
    '*/',
    '/*',
    '<!--',
    '---',
    '\n...\n',
    '<<EOT',
  ],
  ...[
    ': ',
    ':',
    '- ',
    '? ',
    '&a',
    '*a',
    '!Ref',
    '!!str',
    '|',
    '>',
    '%',
    '@',
    ',',
    '=',
    '<<',
    '~',
    '!Sub $',
    '{AWS::Region}',
  ],
  ...[
    'yes',
    'NO',
    'on',
    'null',
    'true',
    '1',
    '1_000',
    '0x1F',
    '0o7',
    '1e3',
    '.inf',
    '12:30:45',
    '2012-10-17',
    '',
    ' ',
    'a',
    'é',
    '日本',
    '😀',
    '\u{e0041}',
  ],
]

/** Texts that the documents must carry unchanged. */
export const hardText: fc.Arbitrary<string> = fc.oneof(
  fc.constantFrom(...pieces),
  fc
    .array(fc.oneof(fc.constantFrom(...pieces), fc.string({ unit: 'binary', maxLength: 4 })), {
      maxLength: 6,
    })
    .map((parts) => parts.join('')),
)

/** A text for every place in which AWS has one. */
export interface Texts {
  readonly name: string
  readonly plan: string
  readonly product: string
  readonly path: string
  readonly tags: readonly (readonly [key: string, value: string])[]
}

export const hardTexts: fc.Arbitrary<Texts> = fc.record({
  name: hardText,
  plan: hardText,
  product: hardText,
  // In braces it would have parameters.
  path: hardText.map((text) => text.replaceAll(/[{}]/g, '')),
  tags: fc.array(fc.tuple(hardText, hardText), { maxLength: 1 }),
})

/** Returns a patch in which all texts that others chose are these. */
export function patchWith({ name, plan, product, path, tags }: Texts): ApiPatch {
  const methods = [{ ...method('GET', `/${path}`), resourceId: 'r1' }]
  const owned = (id: string) => ({ 'aws:cloudformation:logical-id': id })
  return toPatch(
    { ...desired, methods, methodThrottles: [], plans: [{ ...none, name: 'gold', usagePlanId: 'abcgold' }] },
    {
      api: { name, keySource: 'AUTHORIZER', tags: owned('Api') },
      methods,
      plans: [
        {
          ...gold,
          name: plan,
          productCode: product,
          tags: { ...owned('Plan'), ...Object.fromEntries(tags) },
          methodLimits: [{ stage: 'other:v1', method: `/${path}/GET`, ratePerSecond: 1e-7, burst: 2 }],
        },
      ],
    },
  )
}

/** Returns the same texts as plain words, and a function that puts the former in their place, in any part of a value. */
export function plainTexts(texts: Texts): { plain: Texts; harden: (value: unknown) => unknown } {
  const words = new Map<string, string>()
  const word = (text: string) => {
    const name = `word${words.size}word`
    words.set(name, text)
    return name
  }
  const plain = {
    ...{
      name: word(texts.name),
      plan: word(texts.plan),
      product: word(texts.product),
      path: word(texts.path),
    },
    tags: texts.tags.map(([key, value]) => [word(key), word(value)] as const),
  }
  const hardenText = (text: string) => text.replaceAll(/word\d+word/g, (name) => words.get(name) ?? name)
  const harden = (value: unknown): unknown => {
    if (typeof value === 'string') return hardenText(value)
    if (Array.isArray(value)) return value.map(harden)
    if (typeof value !== 'object' || value === null) return value
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [hardenText(key), harden(one)]))
  }
  return { plain, harden }
}
