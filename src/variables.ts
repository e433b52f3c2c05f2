/** A variable as the documents and `npm start -- --help` describe it, in Markdown. Links are relative to `docs/`. */
interface VariableText {
  /** A literal value is in backticks. */
  readonly byDefault: string
  readonly meaning: string
}

/** Every variable of the configuration, in the order in which it is described. `config.ts` has the rules for their values. */
export const variableTexts = {
  AWS_REGION: { byDefault: 'required', meaning: 'The Region of the usage plans' },
  USAGE_PLAN_ID: {
    byDefault: 'required, or `USAGE_PLANS`',
    meaning: 'The id of the only usage plan; its name here is `default`',
  },
  USAGE_PLANS: {
    byDefault: '',
    meaning: 'Several plans, name and id: `gold=abc123,free=def456`. The first is the default.',
  },
  API_BASE_URL: { byDefault: 'required', meaning: 'The API that the keys open; shown in responses' },
  PUBLIC_URL: {
    byDefault: '`http://localhost:PORT`',
    meaning: 'The address at which callers reach firstkey; the base of every URL in responses',
  },
  API_PROBE_PATH: {
    byDefault: '',
    meaning:
      '[A method of the API](for-operators.md#the-probe-path), as in `/status`, that tells whether a key works; for ' +
      '[`Prefer: wait`](for-callers.md#wait-until-the-key-works) and `POOL`',
  },
  POOL: {
    byDefault: 'none',
    meaning:
      'How many keys of each plan are [made beforehand](for-operators.md#keys-made-beforehand), so that they work at once: ' +
      '`gold:50,free:20`. It counts for the whole service, not for each replica.',
  },
  POOL_SETTLE: {
    byDefault: '`120s`',
    meaning:
      'The age at which a key of the pool counts as ready without `API_PROBE_PATH`, or where that gives no clear response',
  },
  POOL_MAX_AGE: {
    byDefault: '`24h`',
    meaning: 'The age at which a key of the pool is replaced by a new one',
  },
  HOST: { byDefault: '`127.0.0.1`', meaning: 'The listen address; the container listens on `0.0.0.0`' },
  PORT: { byDefault: '`3000`', meaning: 'The port to listen on; `0`: any free one' },
  METRICS_PORT: {
    byDefault: 'none',
    meaning:
      'A port of its own for [metrics](for-operators.md#metrics-and-alerts), for Prometheus; `0`: any free one',
  },
  METRICS_HOST: {
    byDefault: '127.0.0.1',
    meaning: 'The listen address for metrics, which have no authentication: let no caller reach it',
  },
  STORE: {
    byDefault: '`sqlite:./data/firstkey.db`',
    meaning:
      'The store: a file, whose relative path starts at the folder of the process. `sqlite::memory:` keeps nothing; ' +
      '`dynamodb:TABLE` is for [several replicas](scaling.md). The container uses `sqlite:/data/firstkey.db`.',
  },
  GATEWAY_STAGE: {
    byDefault: 'none',
    meaning:
      'The stage, as in `prod`, if the gateway [puts it before the path](for-operators.md#behind-the-gateway) of a request and ' +
      '`PUBLIC_URL` does not end in it',
  },
  TRUST_PROXY: {
    byDefault: '`0`',
    meaning:
      "The [proxies](for-operators.md#behind-proxies) whose reports of the client's address are believed: how many, or " +
      'their addresses and CIDR ranges; `0`: none',
  },
  TRUST_PROXY_HEADER: {
    byDefault: 'the one that is present',
    meaning: 'The header that these proxies write: `X-Forwarded-For` or `Forwarded`',
  },
  CORS_ORIGINS: {
    byDefault: 'none',
    meaning:
      'The origins of [web pages](for-operators.md#web-pages-of-other-origins) that may call firstkey: ' +
      '`https://app.example.com,http://localhost:5173`',
  },
  TRUST_FILE: {
    byDefault: 'none',
    meaning:
      'A YAML or JSON file with [the issuers and rules](for-operators.md#identity-tokens) by which callers register with an ' +
      'identity token instead of a bootstrap token',
  },
  RATE_LIMIT_PER_IP: { byDefault: '`300`', meaning: 'Requests a minute from one address; `0`: no limit' },
  REGISTER_TIMEOUT_MS: {
    byDefault: '`25000`',
    meaning:
      'The time limit of a registration, and of any other request. API Gateway ends a request after 29,000.',
  },
  MINT_MODE: {
    byDefault: '`auto`',
    meaning:
      '`single`: one key at a time, by two calls; `bulk`: always by bulk import; `auto`: a single registration by two ' +
      'calls, several by one import',
  },
  MINT_BATCH_MAX: { byDefault: '`2500`', meaning: 'The most keys in one bulk import' },
  QUEUE_MAX: {
    byDefault: '`15000`',
    meaning: 'The most registrations that may wait; one more gets 503 `overloaded`',
  },
  AWS_CALLS_PER_SECOND: {
    byDefault: '`10`',
    meaning:
      "The most control-plane calls a second of this process; the account's quota is 10. `0`: no limit",
  },
  IN_DOUBT_HOURS: {
    byDefault: '`24`',
    meaning: 'How long a registration stays [in doubt](for-operators.md#in-doubt) before it is undone',
  },
  AUDIT_RETENTION_DAYS: { byDefault: '`400`', meaning: 'How long audit entries are kept' },
  LOG_LEVEL: {
    byDefault: '`info`',
    meaning: '`fatal`, `error`, `warn`, `info`, `debug`, `trace`, `silent`',
  },
  AWS_ENDPOINT_URL_API_GATEWAY: { byDefault: '', meaning: 'Another endpoint for API Gateway' },
  AWS_ENDPOINT_URL_DYNAMODB: { byDefault: '', meaning: 'Another endpoint for DynamoDB' },
  AWS_ENDPOINT_URL: { byDefault: '', meaning: 'Another endpoint for both' },
} as const satisfies Record<string, VariableText>

/** The name of a variable of the configuration. */
export type VariableName = keyof typeof variableTexts

/** Returns the help of the server: every variable with its default and its meaning. */
export function serverHelp(): string {
  const variables = Object.entries(variableTexts).map(([name, { byDefault, meaning }]) => {
    const note =
      byDefault === '' ? '' : ` (${byDefault.startsWith('`') ? 'default: ' : ''}${plain(byDefault)})`
    return `  ${name}${note}\n${plain(meaning).replaceAll(/(.{1,72})(?: |$)/g, '      $1\n')}`
  })
  return `usage: npm start [-- --help | --version]

Serves POST /register. The configuration is in environment variables. AWS
credentials come from the SDK's own chain: environment, role, profile.

${variables.join('')}
docs/for-operators.md says more about each.
`
}

/** Returns the text of Markdown. */
function plain(markdown: string): string {
  return markdown.replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1').replaceAll('`', '')
}
