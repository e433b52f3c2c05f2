import type { Config } from '../config.ts'
import { linksOf } from './links.ts'

/** Of which environment variable a program takes the bootstrap token. */
const TOKEN_VARIABLE = 'FIRSTKEY_TOKEN'
const BOOTSTRAP = 'bootstrap-token'

/**
 * The API Onboarding Descriptor (AOD 0.1, apionboarding.org) of this deployment: all that a generic engine needs to get
 * from a bootstrap token to a working API key.
 */
export function onboardingDescriptor({
  publicUrl,
  apiBaseUrl,
  plans,
}: Pick<Config, 'publicUrl' | 'apiBaseUrl' | 'plans'>): object {
  const links = linksOf(publicUrl)
  return {
    aod: '0.1',
    provider: { name: new URL(apiBaseUrl).hostname, url: apiBaseUrl, portalUrl: links.home },
    maturity: 'bootstrap-token',
    account: {
      required: false,
      agentPolicy: 'allowed',
      prerequisites: ['A bootstrap token (fkb_…), which the operator hands out'],
      plans: plans.map(({ name }) => ({ name, requiredFor: `The limits of the usage plan "${name}"` })),
    },
    registration: {
      applicationNoun: 'API key',
      owner: 'developer',
      mechanisms: [
        {
          type: 'management-api',
          description: 'One request: a bootstrap token in, an API key on a usage plan out.',
          baseUrl: publicUrl,
          docsUrls: [links.llms, links.openapi],
          auth: BOOTSTRAP,
        },
        {
          type: 'dcr',
          description:
            'The same as OAuth dynamic client registration: the initial access token is the bootstrap token.',
          registrationEndpoint: links.connect,
          auth: BOOTSTRAP,
        },
      ],
    },
    authentication: {
      methods: [
        {
          id: BOOTSTRAP,
          type: 'bearer-env',
          env: [TOKEN_VARIABLE],
          tokenPrefix: 'fkb_',
          bootstrap: 'The operator makes a bootstrap token (firstkey tokens create) and hands it out.',
          notes: 'One token may allow several registrations; a refused or failed one costs no use.',
        },
      ],
    },
    credentials: [
      {
        type: 'api-key',
        fields: { api_key: 'api_key_value', client_id: 'api_key_id', client_secret: 'api_key_value' },
        ttl: 'as the bootstrap token says; expires_at in the answer, null: none',
        rotation: `POST ${links.register}/{registration_id}/rotate with the management token of the answer`,
        oneTimeDisplay: true,
      },
    ],
    scopes: { model: 'product-tiers', notes: 'The usage plan decides how much may be asked for.' },
    flow: {
      args: [
        { name: 'name', description: 'Who the key is for; need not be unique', required: true },
        { name: 'description', description: 'What it is for', required: false, default: '' },
      ],
      steps: [
        {
          id: 'register',
          description:
            'Makes the key. To retry safely add the header Idempotency-Key with a UUID of your own.',
          auth: BOOTSTRAP,
          request: {
            method: 'POST',
            url: links.register,
            headers: {
              authorization: `Bearer {env.${TOKEN_VARIABLE}}`,
              'content-type': 'application/json',
              accept: 'application/json',
            },
            body: { name: '{arg.name}', description: '{arg.description}' },
          },
          onStatus: onStatus(),
        },
      ],
      outputs: {
        api_key: '{steps.register.api_key_value}',
        client_id: '{steps.register.api_key_id}',
        client_secret: '{steps.register.api_key_value}',
        api_key_id: '{steps.register.api_key_id}',
        usage_plan_id: '{steps.register.usage_plan_id}',
        registration_id: '{steps.register.registration_id}',
        management_token: '{steps.register.management.token}',
        management_url: '{steps.register.management.url}',
        header: '{steps.register.use.header}',
        base_url: '{steps.register.use.base_url}',
      },
    },
    gaps: ['A human operator hands out the bootstrap token.'],
  }
}

function onStatus(): Record<string, { action: 'continue' | 'fail'; message?: string }> {
  const later = 'Wait for the seconds in Retry-After, then send the same request again.'
  return {
    201: { action: 'continue' },
    400: { action: 'fail', message: 'Correct the request as "errors" in the answer says.' },
    401: {
      action: 'fail',
      message: 'The bootstrap token is missing, wrong, expired or revoked: ask the operator.',
    },
    403: {
      action: 'fail',
      message: 'The token allows no more uses, or not this name or plan: see "detail".',
    },
    408: { action: 'fail', message: 'The request took too long to arrive: send it again.' },
    409: { action: 'fail', message: 'The same request is being worked on, or its key is over: see "code".' },
    413: { action: 'fail', message: 'The request is too large: 16 KiB at most.' },
    415: { action: 'fail', message: 'Send the body as application/json.' },
    422: { action: 'fail', message: 'The Idempotency-Key was used for another request: choose a new one.' },
    429: { action: 'fail', message: later },
    500: { action: 'fail', message: 'The service failed: tell the operator the "instance" of the answer.' },
    502: { action: 'fail', message: 'The service is not set up correctly: tell the operator.' },
    503: { action: 'fail', message: later },
  }
}
