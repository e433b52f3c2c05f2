import type { Config } from '../config.ts'
import type { Identities } from './identities.ts'
import { linksOf } from './links.ts'

/** The environment variable from which a program reads the bootstrap token. */
const TOKEN_VARIABLE = 'FIRSTKEY_TOKEN'
/** The ids of the authentication methods. */
const BOOTSTRAP = 'bootstrap-token'
const BROWSER = 'browser-login'
const WORKLOAD = 'workload-identity'
/** The ids of the steps that register. */
const LOGIN_STEP = 'register_after_login'
const TOKEN_STEP = 'register'

/**
 * Returns the API Onboarding Descriptor (AOD 0.1, apionboarding.org) of this deployment: everything that a generic
 * engine needs to turn a bootstrap token, or a login, into a working API key.
 */
export function onboardingDescriptor(
  { publicUrl, apiBaseUrl, plans }: Pick<Config, 'publicUrl' | 'apiBaseUrl' | 'plans'>,
  identities: Identities | null,
): object {
  const links = linksOf(publicUrl)
  const hasLogin = identities?.hasLogin ?? false
  const register = {
    method: 'POST',
    url: links.register,
    headers: { 'content-type': 'application/json', accept: 'application/json' },
    body: { name: '{arg.name}', description: '{arg.description}', plan: '{arg.plan}' },
  }
  /** Returns the template of a field of the response, whichever step got it. */
  const field = (path: string) =>
    `{${[...(hasLogin ? [LOGIN_STEP] : []), TOKEN_STEP].map((step) => `steps.${step}.${path}`).join(' || ')}}`
  return {
    aod: '0.1',
    provider: { name: new URL(apiBaseUrl).hostname, url: apiBaseUrl, portalUrl: links.home },
    maturity: hasLogin ? 'self-serve' : 'bootstrap-token',
    account: {
      required: hasLogin,
      agentPolicy: 'allowed',
      prerequisites: [
        hasLogin
          ? "An account at the operator's identity provider, or a bootstrap token (fkb_…) from the operator"
          : 'A bootstrap token (fkb_…) from the operator',
      ],
      plans: plans.map(({ name }) => ({ name, requiredFor: `The limits of the usage plan "${name}"` })),
    },
    registration: {
      applicationNoun: 'API key',
      owner: 'developer',
      mechanisms: [
        ...(hasLogin
          ? [
              {
                type: 'browser-oauth',
                description: 'A login in the browser; the access token is good for one registration.',
                baseUrl: publicUrl,
                authorizationEndpoint: links.authorize,
                tokenEndpoint: links.token,
                publicClientId: 'firstkey',
                redirectUri: 'http://127.0.0.1:8976/callback',
                docsUrls: [links.llms],
                auth: BROWSER,
              },
            ]
          : []),
        {
          type: 'management-api',
          description: 'One request turns a bootstrap token into an API key on a usage plan.',
          baseUrl: publicUrl,
          docsUrls: [links.llms, links.openapi],
          auth: BOOTSTRAP,
        },
        {
          type: 'dcr',
          description:
            'The same as OAuth dynamic client registration; the bootstrap token is the initial access token.',
          registrationEndpoint: links.connect,
          auth: BOOTSTRAP,
        },
      ],
    },
    authentication: {
      methods: [
        ...(hasLogin ? [{ id: BROWSER, type: 'oauth-pkce-browser' }] : []),
        {
          id: BOOTSTRAP,
          type: 'bearer-env',
          env: [TOKEN_VARIABLE],
          tokenPrefix: 'fkb_',
          bootstrap: 'The operator creates a bootstrap token (firstkey tokens create) and hands it out.',
          notes: 'A token may allow several registrations; a rejected or failed registration costs no use.',
        },
        ...(identities === null || identities.kinds.length === 0
          ? []
          : [
              {
                id: WORKLOAD,
                type: 'cloud-iam',
                env: [TOKEN_VARIABLE],
                tokenEndpoint: links.token,
                audience: identities.audience,
                notes:
                  `An identity token (JWT) for the audience above, of an issuer of a kind that is accepted: ${identities.kinds.join(', ')}. ` +
                  'Send it in place of the bootstrap token, with an Idempotency-Key that is a UUID of version 4, or exchange it at the ' +
                  'token endpoint (RFC 7523).',
              },
            ]),
      ],
    },
    credentials: [
      {
        type: 'api-key',
        fields: { api_key: 'api_key_value', client_id: 'api_key_id', client_secret: 'api_key_value' },
        ttl: 'set by the bootstrap token; "expires_at" in the response, null if the key never expires',
        rotation: `POST ${links.register}/{registration_id}/rotate with the management token from the response`,
        oneTimeDisplay: true,
      },
    ],
    scopes: { model: 'product-tiers', notes: 'The usage plan limits the requests.' },
    flow: {
      args: [
        {
          name: 'name',
          description: 'The name of the agent or partner that gets the key; it need not be unique',
          required: true,
        },
        { name: 'description', description: 'The purpose of the key', required: false, default: '' },
        {
          name: 'plan',
          description: 'One of the plans that the token allows; empty: the default plan of the token',
          required: false,
          default: '',
        },
      ],
      steps: [
        ...(hasLogin
          ? [
              {
                id: LOGIN_STEP,
                description:
                  'Lets a person log in and mints the key. It is skipped if there is a bootstrap token.',
                skipIf: `{env.${TOKEN_VARIABLE}}`,
                auth: BROWSER,
                request: register,
                onStatus: onStatus(),
              },
            ]
          : []),
        {
          id: TOKEN_STEP,
          description: 'Mints the key. To make retries safe, add an Idempotency-Key header with a new UUID.',
          ...(hasLogin ? { skipIf: `{steps.${LOGIN_STEP}.registration_id}` } : {}),
          auth: BOOTSTRAP,
          request: {
            ...register,
            headers: { authorization: `Bearer {env.${TOKEN_VARIABLE}}`, ...register.headers },
          },
          onStatus: onStatus(),
        },
      ],
      outputs: {
        api_key: field('api_key_value'),
        client_id: field('api_key_id'),
        client_secret: field('api_key_value'),
        api_key_id: field('api_key_id'),
        usage_plan_id: field('usage_plan_id'),
        registration_id: field('registration_id'),
        management_token: field('management.token'),
        management_url: field('management.url'),
        header: field('use.header'),
        base_url: field('use.base_url'),
      },
    },
    ...(hasLogin ? {} : { gaps: ['A human operator hands out the bootstrap token.'] }),
  }
}

function onStatus(): Record<string, { action: 'continue' | 'fail'; message?: string }> {
  const later = 'Wait the number of seconds in Retry-After, then send the same request again.'
  return {
    201: { action: 'continue' },
    400: {
      action: 'fail',
      message: 'Correct the request as "detail" and "errors" in the response describe.',
    },
    401: {
      action: 'fail',
      message: 'The bootstrap token is missing, not valid, expired or revoked: ask the operator.',
    },
    403: {
      action: 'fail',
      message:
        'The token has no uses left, the identity has all the keys that it may have, or the name or plan is not ' +
        'allowed: see "detail".',
    },
    408: { action: 'fail', message: 'The request took too long to arrive: send it again.' },
    409: {
      action: 'fail',
      message:
        'The same request is still in progress, its key expired, was revoked or was replaced, or the identity is ' +
        'already registered: see "code".',
    },
    413: { action: 'fail', message: 'The request is too large: send at most 16 KiB.' },
    415: { action: 'fail', message: 'Send the body uncompressed, as application/json.' },
    422: {
      action: 'fail',
      message: 'The Idempotency-Key was already used for a different request: send a new one.',
    },
    429: { action: 'fail', message: later },
    500: {
      action: 'fail',
      message: 'The service failed unexpectedly: give the operator the "instance" of the response.',
    },
    502: { action: 'fail', message: 'The service is not set up correctly: tell the operator.' },
    503: { action: 'fail', message: later },
  }
}
