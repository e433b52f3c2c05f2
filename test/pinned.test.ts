import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { parse } from 'yaml'
import { z } from 'zod'

const root = join(import.meta.dirname, '..')
const read = (file: string) => readFileSync(join(root, file), 'utf8')
const DIGEST = /^[^\s:@]+(?::[\w.-]+)?@sha256:[0-9a-f]{64}$/

/** Every value of `name` in a parsed YAML document, however deep. */
function valuesOf(name: string, node: unknown): unknown[] {
  if (typeof node !== 'object' || node === null) return []
  return Object.entries(node).flatMap(([key, value]) => [
    ...(key === name ? [value] : []),
    ...valuesOf(name, value),
  ])
}

/** The actions and images of a workflow that a tag or a branch names: their owner can move those. */
function unpinnedIn(workflow: string): unknown[] {
  const document = parse(workflow)
  const images = [...valuesOf('image', document), ...valuesOf('container', document)].filter(
    (value) => typeof value === 'string',
  )
  return [
    ...valuesOf('uses', document).filter(
      (uses) =>
        !/^\.\/|^[\w./-]+@[0-9a-f]{40}$/.test(String(uses)) &&
        !DIGEST.test(String(uses).replace(/^docker:\/\//, '')),
    ),
    ...images.filter((image) => !DIGEST.test(image)),
  ]
}

/** The images of a Dockerfile that are neither pinned nor one of its own stages. */
function unpinnedImages(dockerfile: string): string[] {
  const lines = dockerfile.replaceAll(/\\\n/g, ' ').split('\n')
  const stages = new Set(['scratch'])
  return lines.flatMap((line) => {
    const [, image, stage] = line.match(/^\s*FROM\s+(?:--\S+\s+)*(\S+)(?:\s+AS\s+(\S+))?/i) ?? []
    const sources = [...line.matchAll(/^\s*(?:COPY|ADD|RUN)\b.*?\bfrom=([^\s,]+)/gi)].map(([, from]) => from)
    const named = [image, ...sources].filter((name) => name !== undefined && !stages.has(name))
    if (stage !== undefined) stages.add(stage)
    return named.filter((name): name is string => name !== undefined && !DIGEST.test(name))
  })
}

const SHA = 'a'.repeat(40)
const SHA256 = `sha256:${'a'.repeat(64)}`

test('every action is pinned by its commit, with the release beside it, and every image of a workflow by its digest', () => {
  const files = globSync('.github/**/*.{yml,yaml}', { cwd: root })
  assert.ok(files.length > 0)
  for (const file of files) {
    assert.deepEqual(unpinnedIn(read(file)), [], file)
    for (const [line] of read(file).matchAll(/^.*\buses: .*@.*$/gm)) assert.match(line, / # v\d+\.\d+\.\d+$/)
  }
  for (const [yaml, count] of [
    [`steps: [{ uses: a/b@v5 }, { uses: a/b/c@main }, { uses: a/b@${SHA} }, { uses: ./own }]`, 2],
    [
      `steps: [{ uses: "docker://a:1" }, { uses: "docker://a:1@${SHA256}" }, { uses: a/b@${SHA.slice(1)} }]`,
      2,
    ],
    [`jobs: { j: { container: "node:26", services: { db: { image: "db@${SHA256}" } } } }`, 1],
  ] as const)
    assert.equal(unpinnedIn(yaml).length, count, yaml)
})

test('every base image is pinned by its digest', () => {
  for (const file of globSync('**/{Dockerfile,*.Dockerfile}', { cwd: root, exclude: ['node_modules'] }))
    assert.deepEqual(unpinnedImages(read(file)), [], file)
  for (const [dockerfile, unpinned] of [
    ['FROM node:26-slim', ['node:26-slim']],
    [`FROM --platform=linux/amd64 node AS a\nFROM a\nFROM b@${SHA256} AS c`, ['node']],
    [
      `FROM scratch\nCOPY --chown=a --from=busybox:1 /x /x\nRUN --mount=type=bind,from=z:2,target=/z true`,
      ['busybox:1', 'z:2'],
    ],
    // biome-ignore lint/suspicious/noTemplateCurlyInString: a build argument
    ['FROM ${IMAGE}', ['${IMAGE}']],
  ] as const)
    assert.deepEqual(unpinnedImages(dockerfile), unpinned)
})

const composeSchema = z.object({ services: z.record(z.string(), z.looseObject({})) })

test('a service of docker-compose.yml is built here, or its image is pinned', () => {
  const document = parse(read('docker-compose.yml'), { merge: true })
  for (const [name, { build, image }] of Object.entries(composeSchema.parse(document).services))
    assert.ok(build !== undefined || DIGEST.test(String(image)), name)
})

const workflowSchema = z.object({
  permissions: z.record(z.string(), z.string()),
  jobs: z.record(
    z.string(),
    z.looseObject({
      permissions: z.record(z.string(), z.string()).optional(),
      steps: z.array(z.looseObject({ uses: z.string().optional(), with: z.looseObject({}).optional() })),
    }),
  ),
})

test('the workflows may only read, and leave no credentials in the checkout', () => {
  for (const file of globSync('.github/workflows/*', { cwd: root })) {
    const { permissions, jobs } = workflowSchema.parse(parse(read(file)))
    for (const granted of [permissions, ...Object.values(jobs).map((job) => job.permissions ?? {})])
      assert.ok(
        Object.values(granted).every((level) => level !== 'write'),
        file,
      )
    const steps = Object.values(jobs).flatMap((job) => job.steps)
    for (const step of steps.filter(({ uses }) => uses?.startsWith('actions/checkout@')))
      assert.equal(step.with?.['persist-credentials'], false, file)
  }
})
