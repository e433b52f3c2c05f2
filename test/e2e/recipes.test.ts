import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { Ajv } from 'ajv'
import { z } from 'zod'
import { startFaultyFront } from '../support/faulty-front.ts'
import { long } from '../support/long.ts'
import { readBlocks } from '../support/recipe-blocks.ts'
import { follow, type Place, type Recipe, recipes, which } from '../support/recipes.ts'
import { startProgram } from '../support/server-process.ts'
import { tempDir } from '../support/service.ts'

const document = readFileSync(join(import.meta.dirname, '../../docs/recipes.md'), 'utf8')
// identity-recipes.test.ts runs the others.
const blocks = readBlocks(document.slice(0, document.indexOf('\n## Without a bootstrap token')))

function codeOf(recipe: Pick<Recipe, 'heading' | 'language'>): string {
  const block = blocks.find(
    ({ heading, language }) => heading === recipe.heading && language === recipe.language,
  )
  return block?.code ?? assert.fail(`docs/recipes.md has no ${recipe.language} under ${recipe.heading}`)
}

/** Reads the URLs and the token from the output of the demo. */
function readScreen(screen: string) {
  const read = (pattern: RegExp) => screen.match(pattern)?.[1] ?? assert.fail(String(pattern))
  return {
    url: read(/firstkey is ready on (\S+)/),
    token: read(/^ +(fkb_\w+)$/m),
    apiUrl: read(/API_BASE_URL=(\S+)/) + read(/API_PROBE_PATH=(\S+)/),
  }
}

type Demo = ReturnType<typeof readScreen>

function emptyPlace(t: TestContext, { url, token }: Pick<Demo, 'url' | 'token'>): Place {
  const dir = join(tempDir(t), 'here')
  mkdirSync(dir)
  return { dir, env: { FIRSTKEY_URL: url, FIRSTKEY_TOKEN: token } }
}

const credential = z.object({
  api_key_id: z.string(),
  api_key_value: z.string(),
  management_token: z.string(),
  management_url: z.string(),
})
const jsonCredential = z
  .object({ management: z.object({ token: z.string(), url: z.string() }) })
  .loose()
  .transform(({ management: { token, url }, ...others }) => ({
    ...others,
    management_token: token,
    management_url: url,
  }))
  .pipe(credential)
/** The variables of a file or a step. */
const variables = z
  .object({
    FIRSTKEY_API_KEY_ID: z.string(),
    FIRSTKEY_API_KEY: z.string(),
    FIRSTKEY_MANAGEMENT_TOKEN: z.string(),
    FIRSTKEY_MANAGEMENT_URL: z.string(),
  })
  .transform((values) => ({
    api_key_id: values.FIRSTKEY_API_KEY_ID,
    api_key_value: values.FIRSTKEY_API_KEY,
    management_token: values.FIRSTKEY_MANAGEMENT_TOKEN,
    management_url: values.FIRSTKEY_MANAGEMENT_URL,
  }))
const names = Object.keys(variables.in.shape)

/** Reads the credential that the recipe left in its folder, in the way that the document describes. */
function readKept({ dir }: Place, recipe: Recipe) {
  if (recipe.language === 'yaml') {
    const lines = readFileSync(join(dir, 'output'), 'utf8').matchAll(/^(\w+)=(.*)$/gm)
    return variables.parse(Object.fromEntries([...lines].map(([, name, value]) => [name, value])))
  }
  const [file = '', ...others] = readdirSync(dir).filter((name) => /\.(env|json)$/.test(name))
  assert.deepEqual(others, [])
  assert.equal(statSync(join(dir, file)).mode & 0o777, 0o600, `${file} is readable by others`)
  if (file.endsWith('.json')) return jsonCredential.parse(JSON.parse(readFileSync(join(dir, file), 'utf8')))
  const script = `. "./$1"; printf '%s\\n' ${names.map((name) => `"$${name}"`).join(' ')}`
  const values = execFileSync('sh', ['-euc', script, 'sh', file], { cwd: dir, encoding: 'utf8' }).split('\n')
  return variables.parse(Object.fromEntries(names.map((name, index) => [name, values[index]])))
}

/** Asserts that the demo API accepts the key, and that the management token gives access to the registration. */
async function assertWorks({ apiUrl }: Demo, kept: z.infer<typeof credential>) {
  const used = await fetch(apiUrl, { headers: { 'x-api-key': kept.api_key_value } })
  assert.equal(used.status, 200)
  const { management_token, management_url } = kept
  const looked = await fetch(management_url, { headers: { authorization: `Bearer ${management_token}` } })
  assert.equal(looked.status, 200)
}

async function testRecipe(t: TestContext, recipe: Recipe, demo: Demo): Promise<void> {
  const code = codeOf(recipe)
  const subtest = (name: string, run: (t: TestContext) => Promise<void>) =>
    t.test(name, { concurrency: true }, run)

  const works = subtest('gets a working key and shows no secret', async (t) => {
    const place = emptyPlace(t, demo)
    const { exitCode, stdout, stderr, curlArgs } = await follow(recipe, code, place)
    assert.equal(exitCode, 0, stdout + stderr)
    const kept = readKept(place, recipe)
    await assertWorks(demo, kept)
    if (recipe.language === 'yaml') {
      for (const secret of [kept.api_key_value, kept.management_token])
        assert.match(stdout, RegExp(`^::add-mask::${secret}$`, 'm'))
    } else assert.match(stdout, RegExp(kept.api_key_id))
    const shown = stdout.replaceAll(/^::add-mask::.*$/gm, '') + stderr
    const inProcessList = recipe.showsToken ? '' : curlArgs
    for (const secret of [kept.api_key_value, kept.management_token, demo.token])
      assert.ok(!(shown + inProcessList).includes(secret), 'a secret is shown')

    if (recipe.keeps === undefined) return
    const before = readFileSync(join(place.dir, recipe.keeps), 'utf8')
    assert.notEqual((await follow(recipe, code, place)).exitCode, 0)
    assert.equal(readFileSync(join(place.dir, recipe.keeps), 'utf8'), before, 'the first key was replaced')
  })

  const tells = subtest('shows the reason of a rejection, and fails', async (t) => {
    const place = emptyPlace(t, { ...demo, token: 'fkb_wrong' })
    const { exitCode, stdout, stderr } = await follow(recipe, code, place)
    assert.notEqual(exitCode, 0)
    const told = recipe.heading === 'A tool for an agent' || recipe.language === 'yaml' ? stdout : stderr
    assert.match(told, /The token is not valid|invalid_token/)
    assert.match(told, /38 letters and digits/)
    assert.match(told, /ask the operator for a new one/)
    if (recipe.keeps !== undefined)
      assert.ok(!existsSync(join(place.dir, recipe.keeps)), 'an empty file is left')
  })

  const retries =
    recipe.survives.length > 0 &&
    subtest(`survives ${recipe.survives.join(' and ')} with the same Idempotency-Key`, async (t) => {
      const front = await startFaultyFront(t, demo.url, recipe.survives)
      const place = emptyPlace(t, { ...demo, url: front.url })
      const { exitCode, stdout, stderr } = await follow(recipe, code, place)
      assert.equal(exitCode, 0, stdout + stderr)
      await assertWorks(demo, readKept(place, recipe))
      const [first, second, last] = front.seen
      assert.ok(first && second)
      assert.equal(front.seen.length, recipe.survives.length + 1)
      assert.match(first.key ?? '', /^[\w-]{16,}$/)
      assert.deepEqual(new Set(front.seen.map(({ key }) => key)), new Set([first.key]))
      assert.ok(second.at - first.at > 950, 'the retry came before Retry-After')
      if (last !== undefined) assert.ok(last.isReplayed, 'a second key was minted')
    })
  await Promise.all([works, tells, retries])
}

test('every code block that needs a bootstrap token is run here', () => {
  const known = recipes.map(({ heading, language }) => `${heading}: ${language}`)
  assert.deepEqual(
    blocks.map(({ heading, language }) => `${heading}: ${language}`),
    [...new Set(known)],
  )
})

async function testRerun(t: TestContext, demo: Demo): Promise<void> {
  const step = recipes.find(({ language }) => language === 'yaml') ?? assert.fail()
  const ids: string[] = []
  for (const index of ['1', '1', '2']) {
    const { dir, env } = emptyPlace(t, demo)
    const place = { dir, env: { ...env, JOB_INDEX: index } }
    assert.equal((await follow(step, codeOf(step), place)).exitCode, 0)
    ids.push(readKept(place, step).api_key_id)
  }
  assert.equal(ids[0], ids[1])
  assert.notEqual(ids[0], ids[2])
}

test('docs/recipes.md, as pasted, against the demo', { ...long, concurrency: 6 }, async (t) => {
  const program = startProgram(t, 'demo/main.ts', ['--port', '0'], {})
  await program.seen(/Serving until Ctrl-C/)
  const demo = readScreen(program.output.stdout)
  await Promise.all([
    ...recipes.map((recipe) => {
      const { heading, needs } = recipe
      const skip = which(needs) === undefined ? `${needs} is not installed` : false
      return t.test(`${heading} (${needs})`, { skip, concurrency: true }, (t) => testRecipe(t, recipe, demo))
    }),
    t.test('GitHub Actions: a re-run gets the same key, another job of the matrix another', (t) =>
      testRerun(t, demo),
    ),
  ])
  program.child.kill('SIGINT') // With SIGKILL, the service of the demo would keep running.
  assert.equal(await program.ended(), 0)
  // More callers came than the demo has keys made beforehand.
  const isPoolEmpty = (line: string) => line.includes('the pool of plan free is empty')
  const others = program.output.stderr.split('\n').filter((line) => line !== '' && !isPoolEmpty(line))
  assert.deepEqual(others, [])
})

test('the tool accepts the input that its schema describes, and nothing else', async (t) => {
  const file = join(tempDir(t), 'firstkey-tool.mjs')
  writeFileSync(file, codeOf({ heading: 'A tool for an agent', language: 'js' }))
  const { definition } = await import(pathToFileURL(file).href)
  assert.match(definition.name, /^[a-zA-Z0-9_-]{1,64}$/)
  assert.ok(definition.description.length > 100)
  const validate = new Ajv({ strict: true }).compile(definition.input_schema)
  assert.ok(validate({ name: 'acme-agent' }), JSON.stringify(validate.errors))
  assert.ok(validate({ name: 'acme-agent', description: 'nightly import', plan: 'gold' }))
  for (const bad of [
    {},
    { name: '' },
    { name: 7 },
    { name: 'a'.repeat(129) },
    { name: 'a', token: 'fkb_' },
    'a',
  ])
    assert.ok(!validate(bad), JSON.stringify(bad))
})
