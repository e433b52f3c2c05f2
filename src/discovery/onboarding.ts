import type { Config } from '../config.ts'
import { linksOf } from './links.ts'

/** The environment variable from which a program reads the bootstrap token. */
const TOKEN_VARIABLE = 'FIRSTKEY_TOKEN'
const BOOTSTRAP = 'bootstrap-token'

/**
 * Returns the API Onboarding Descriptor (AOD 0.1, apionboarding.org) of this deployment: everything that a generic
 * engine needs to turn a bootstrap token into a working API key.
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
      prerequisites: ['A bootstrap token (fkb_…) from the operator'],
      plans: plans.map(({ name }) => ({ name, requiredFor: `The limits of the usage plan "${name}"` })),
    },
    registration: {
      applicationNoun: 'API key',
      owner: 'developer',
      mechanisms: [
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
        {
          id: BOOTSTRAP,
          type: 'bearer-env',
          env: [TOKEN_VARIABLE],
          tokenPrefix: 'fkb_',
          bootstrap: 'The operator creates a bootstrap token (firstkey tokens create) and hands it out.',
          notes: 'A token may allow several registrations; a rejected or failed registration costs no use.',
        },
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
        {
          id: 'register',
          description: 'Mints the key. To make retries safe, add an Idempotency-Key header with a new UUID.',
          auth: BOOTSTRAP,
          request: {
            method: 'POST',
            url: links.register,
            headers: {
              authorization: `Bearer {env.${TOKEN_VARIABLE}}`,
              'content-type': 'application/json',
              accept: 'application/json',
            },
            body: { name: '{arg.name}', description: '{arg.description}', plan: '{arg.plan}' },
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
      message: 'The token has no uses left, or does not allow this name or plan: see "detail".',
    },
    408: { action: 'fail', message: 'The request took too long to arrive: send it again.' },
    409: {
      action: 'fail',
      message:
        'The same request is still in progress, or its key expired, was revoked or was replaced: see "code".',
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
