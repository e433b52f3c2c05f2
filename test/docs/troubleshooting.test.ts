import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import * as sdk from '@aws-sdk/client-api-gateway'
import { z } from 'zod'
import { errorCatalogue } from '../../src/error-catalogue.ts'
import { commands, guide, rows, spans } from '../support/docs/troubleshooting.ts'

const root = join(import.meta.dirname, '../..')

test('the troubleshooting table has a symptom, a cause and a remedy in each row', () => {
  assert.ok(rows.length > 30)
  for (const row of rows) {
    assert.equal(row.length, 3, row.join(' | '))
    assert.ok(row[0] !== '' && row[2] !== '', row.join(' | '))
  }
})

test('the codes, log lines and variables of the troubleshooting table exist', () => {
  const source = globSync('src/**/*.{ts,js}', { cwd: root })
    .map((file) => readFileSync(join(root, file), 'utf8'))
    .join('\n')
  for (const span of spans) {
    if (/^[a-z]+(_[a-z]+)+$/.test(span)) assert.ok(Object.hasOwn(errorCatalogue, span), `no code ${span}`)
    if (/^[A-Z]+(_[A-Z]+)+$/.test(span))
      assert.ok(guide.includes(`\n| \`${span}\``) || guide.includes(`, \`${span}\``), `no variable ${span}`)
  }
  const logged = rows.flatMap(([symptom = '']) =>
    /\blog( says)?\b/i.test(symptom) ? [...symptom.matchAll(/[`"]([a-z][^`"]+ [^`"]+)[`"]/g)] : [],
  )
  assert.ok(logged.length > 10)
  for (const [, line = ''] of logged) assert.ok(source.includes(line), `nothing logs "${line}"`)
})

const structure = z
  .tuple([z.number(), z.string(), z.string(), z.number(), z.array(z.string())])
  .rest(z.unknown())

test('the commands of AWS, Docker and curl in the troubleshooting table exist', () => {
  const aws = commands.filter((command) => command.startsWith('aws '))
  assert.ok(aws.length > 2)
  for (const command of aws) {
    const [, operation = '', rest = ''] = command.match(/^aws apigateway ([a-z-]+)(.*)$/) ?? []
    const name = operation.replaceAll(/(?:^|-)([a-z])/g, (_, letter: string) => letter.toUpperCase())
    const [, , , , members] = structure.parse(Reflect.get(sdk, `${name}Request$`))
    for (const [, option = ''] of rest.matchAll(/--([a-z-]+)/g)) {
      const member = option.replaceAll(/-([a-z])/g, (_, letter: string) => letter.toUpperCase())
      assert.ok(members.includes(member) || option === 'query', `${command}: no --${option}`)
    }
  }
  for (const command of commands.filter((one) => one.startsWith('docker ')))
    assert.match(command, /^docker (logs( --since \w+)?|stop -t \d+) firstkey( \| grep .+)?$/)
  for (const command of commands.filter((one) => one.startsWith('curl -s ')))
    assert.match(command, /^curl -s http:\/\/127\.0\.0\.1:3000\/(readyz|livez)$/)
})
