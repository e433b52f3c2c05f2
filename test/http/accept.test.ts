import assert from 'node:assert/strict'
import { test } from 'node:test'
import { preferredType } from '../../src/http/accept.ts'

const JSON_TYPE = 'application/json'
const HTML = 'text/html'

const cases: [accept: string | undefined, preferred: string][] = [
  [undefined, JSON_TYPE],
  ['', JSON_TYPE],
  ['*/*', JSON_TYPE],
  ['text/plain', JSON_TYPE],
  [HTML, HTML],
  ['TEXT/HTML', HTML],
  ['text/*', HTML],
  ['text/html, application/json', HTML],
  ['application/json, text/html', JSON_TYPE],
  ['text/html,*/*', HTML],
  ['*/*,text/html', HTML],
  ['application/xhtml+xml,text/html', HTML],
  ['text/html;q=0.9,application/json;q=0.1', HTML],
  ['text/html ; Q=0.1 , application/json;q=0.2', JSON_TYPE],
  ['text/html;q=0', JSON_TYPE],
  ['application/json;q=0,*/*', HTML],
  ['*/*;q=0.9,application/json;q=0.8', HTML],
  ['text/*;q=0,text/html;q=0.1', HTML],
  // A type here has no parameters: those of a range other than its weight do not count.
  ['text/html; charset=utf-8', HTML],
  ['text/html;level=1', HTML],
  ['text/html;level="1,2;q=0";q=0.5,application/json;q=0.4', HTML],
  ['text/html;level=1;q=0.1,text/html;q=0.7,application/json;q=0.5', HTML],
  ['application/json;profile="a, text/html"', JSON_TYPE],
  // What is malformed is not accepted.
  ['text/html;q=x', JSON_TYPE],
  ['text/html;q=', JSON_TYPE],
  ['text/html;x="', HTML],
  [',;,text/html,', HTML],
  ['html', JSON_TYPE],
]

test('the type of an Accept header is that of the most specific range with the highest weight', () => {
  for (const [accept, preferred] of cases)
    assert.equal(preferredType(accept, [JSON_TYPE, HTML]), preferred, String(accept))
})
