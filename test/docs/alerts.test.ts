import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { parse } from 'yaml'
import { z } from 'zod'
import { createPrometheusMeter } from '../../src/metrics/prometheus-meter.ts'
import { needsPromtool, runPromtool } from '../support/promtool.ts'

const root = join(import.meta.dirname, '../..')
const read = (path: string) => readFileSync(join(root, path), 'utf8')
const guide = read('docs/for-operators.md')

const rule = z.strictObject({
  alert: z.string(),
  expr: z.string(),
  for: z.string().optional(),
  labels: z.strictObject({ severity: z.enum(['critical', 'warning']) }),
  annotations: z.strictObject({ summary: z.string(), runbook: z.string() }),
})
const { rules } = z
  .object({ groups: z.tuple([z.object({ rules: z.array(rule) })]) })
  .transform(({ groups: [group] }) => group)
  .parse(parse(read('deploy/alerts.yaml')))

/** Returns the names of the metrics of firstkey, and of the process, as a scrape has them. */
async function metricNames(): Promise<string[]> {
  const meter = createPrometheusMeter({
    plans: ['gold'],
    version: '1.2.3',
    store: 'sqlite',
    keyQuota: 10_000,
  })
  return [...(await meter.render()).matchAll(/^# TYPE (\S+) /gm)].map(([, name = '']) => name)
}

test('the alerts pass promtool, and fire for their causes alone', needsPromtool, async () => {
  for (const args of [
    ['check', 'rules', join(root, 'deploy/alerts.yaml')],
    ['test', 'rules', join(root, 'deploy/alerts.test.yaml')],
  ]) {
    const { code, output } = await runPromtool(args)
    assert.equal(code, 0, output)
  }
})

test('every alert has a test in which it fires, and one in which it does not', () => {
  const checks = z
    .object({
      tests: z.array(
        z.object({
          alert_rule_test: z.array(z.object({ alertname: z.string(), exp_alerts: z.array(z.unknown()) })),
        }),
      ),
    })
    .parse(parse(read('deploy/alerts.test.yaml')))
    .tests.flatMap((one) => one.alert_rule_test)
  for (const { alert } of rules) {
    const fires = checks
      .filter(({ alertname }) => alertname === alert)
      .map(({ exp_alerts }) => exp_alerts.length > 0)
    assert.deepEqual([...new Set(fires)].sort(), [false, true], alert)
  }
})

test('every alert names its section of the guide, and there is no other section', () => {
  const [, chapter = ''] = guide.match(/\n### The alerts\n(.*?)\n## /s) ?? []
  const sections = [...chapter.matchAll(/^#### (.+)$/gm)].map(([, title = '']) => title)
  assert.equal(rules.length, 11)
  assert.deepEqual(
    sections,
    rules.map(({ alert }) => alert),
  )
  for (const { alert, annotations } of rules)
    assert.equal(annotations.runbook, `docs/for-operators.md#${alert.toLowerCase()}`)
})

test('the alerts and the guide name metrics that exist, and the guide names all', async () => {
  const names = await metricNames()
  const plain = (name: string) => (names.includes(name) ? name : name.replace(/_(?:bucket|count|sum)$/, ''))
  for (const text of [...rules.map(({ expr }) => expr), guide])
    for (const [name] of text.matchAll(/\bfirstkey_[a-z_]+|\bprocess_[a-z_]+[a-z]\b/g))
      assert.ok(names.includes(plain(name)), name)
  for (const name of names.filter((one) => one.startsWith('firstkey_')))
    assert.ok(guide.includes(`\`${name}\``), `${name} is not in the table`)
})
