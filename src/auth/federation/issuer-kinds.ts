import { didYouMean } from '../../did-you-mean.ts'

/** A value that a claim is compared with. */
export type ClaimValue = string | number | boolean

/** A claim that the tokens of a kind have. */
interface KnownClaim {
  /** Its place in the claims; that of a claim with `keys` is followed by the key. */
  readonly path: readonly string[]
  readonly type: 'string' | 'number' | 'boolean'
  /** It is an object, and a rule names one of its members: `principal_tags.team`. */
  readonly hasKeys: boolean
}

/** The facts about the tokens of one kind of issuer. */
export interface IssuerKind {
  /** The issuer's URL; `null`: every installation has another. */
  readonly url: string | null
  readonly algorithms: readonly Algorithm[]
  /** Every token has a `jti`, and callers get a fresh token for each request. */
  readonly singleUse: boolean
  /** It logs people in. */
  readonly offersLogin: boolean
  readonly claims: Readonly<Record<string, KnownClaim>>
  /** The place of all claims that are not listed; `null`: a rule cannot name others. */
  readonly otherClaims: readonly string[] | null
  /** The sets of claims of which a rule must pin one, so that it does not let in strangers; `null`: any claim pins. */
  readonly pins: readonly (readonly string[])[] | null
}

/** The algorithms that an issuer may sign with (RFC 7518, RFC 8037, RFC 9864): asymmetric ones. */
export const ALGORITHMS = [
  ...['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'],
  ...['ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'],
] as const
export type Algorithm = (typeof ALGORITHMS)[number]

const texts = (...names: string[]) => claims('string', names)

function claims(type: KnownClaim['type'], names: readonly string[], path: readonly string[] = []) {
  return Object.fromEntries(names.map((name) => [name, { path: [...path, name], type, hasKeys: false }]))
}

const text = (path: readonly string[], hasKeys = false): KnownClaim => ({ path, type: 'string', hasKeys })

const AWS = 'https://sts.amazonaws.com/'
const KUBERNETES = 'kubernetes.io'
const COMPUTE = ['google', 'compute_engine']

/** The claims that every token has (RFC 7519, section 4.1). A rule may name them, although they are checked already. */
const registered = { ...texts('iss', 'aud', 'sub', 'jti'), ...claims('number', ['exp', 'iat', 'nbf']) }

/** The claims of a login (OpenID Connect Core 1.0, section 5.1). */
const person = {
  ...texts('sub', 'email', 'name', 'preferred_username', 'azp'),
  ...claims('boolean', ['email_verified']),
}

/** The kinds of issuers, by their names in the trust file. */
export const issuerKinds = {
  github: {
    url: 'https://token.actions.githubusercontent.com',
    algorithms: ['RS256'],
    singleUse: true,
    offersLogin: false,
    // GitHub sends every claim as a string, `ref_protected` too.
    claims: texts(
      ...[
        'sub',
        'actor',
        'actor_id',
        'base_ref',
        'check_run_id',
        'enterprise',
        'enterprise_id',
        'environment',
      ],
      ...[
        'event_name',
        'head_ref',
        'job_workflow_ref',
        'job_workflow_sha',
        'ref',
        'ref_protected',
        'ref_type',
      ],
      ...['repository', 'repository_id', 'repository_owner', 'repository_owner_id', 'repository_visibility'],
      ...['run_attempt', 'run_id', 'run_number', 'runner_environment', 'sha', 'workflow', 'workflow_ref'],
      ...['workflow_sha', 'environment_node_id', 'issuer_scope'],
    ),
    otherClaims: [],
    // Not `sub`: its form depends on the repository's age and settings. Not names: a name that was given up can be taken.
    pins: [['repository_id'], ['repository_owner_id']],
  },
  gitlab: {
    url: 'https://gitlab.com',
    algorithms: ['RS256'],
    singleUse: true,
    offersLogin: false,
    claims: {
      ...texts(
        ...[
          'sub',
          'namespace_id',
          'namespace_path',
          'project_id',
          'project_path',
          'project_visibility',
          'user_id',
        ],
        ...[
          'user_login',
          'user_email',
          'user_access_level',
          'pipeline_id',
          'pipeline_source',
          'job_id',
          'ref',
        ],
        ...[
          'ref_type',
          'ref_path',
          'ref_protected',
          'environment',
          'environment_protected',
          'environment_action',
        ],
        ...[
          'deployment_tier',
          'runner_environment',
          'sha',
          'ci_config_ref_uri',
          'ci_config_sha',
          'job_source',
        ],
        ...['job_project_id', 'job_project_path', 'job_namespace_id', 'job_namespace_path'],
      ),
      ...claims('number', ['runner_id']),
    },
    otherClaims: [],
    pins: [['project_id'], ['namespace_id']],
  },
  kubernetes: {
    url: null,
    algorithms: ['RS256', 'ES256', 'ES384', 'ES512'],
    // A pod reads the same token from its file until the kubelet replaces that.
    singleUse: false,
    offersLogin: false,
    claims: {
      ...registered,
      namespace: text([KUBERNETES, 'namespace']),
      service_account: text([KUBERNETES, 'serviceaccount', 'name']),
      service_account_uid: text([KUBERNETES, 'serviceaccount', 'uid']),
      pod: text([KUBERNETES, 'pod', 'name']),
      pod_uid: text([KUBERNETES, 'pod', 'uid']),
      node: text([KUBERNETES, 'node', 'name']),
      node_uid: text([KUBERNETES, 'node', 'uid']),
    },
    otherClaims: null,
    pins: [['namespace', 'service_account'], ['sub']],
  },
  aws: {
    url: null,
    algorithms: ['RS256', 'ES384'],
    singleUse: true,
    offersLogin: false,
    // Not `request_tags`: they are the caller's own words.
    claims: {
      ...registered,
      ...Object.fromEntries(
        [
          ...[
            'aws_account',
            'source_region',
            'org_id',
            'ou_path',
            'principal_id',
            'lambda_source_function_arn',
          ],
          ...['ec2_instance_source_vpc', 'ec2_source_instance_arn'],
        ].map((name) => [name, text([AWS, name])]),
      ),
      principal_tags: text([AWS, 'principal_tags'], true),
    },
    otherClaims: [AWS],
    pins: [['sub'], ['principal_id'], ['aws_account']],
  },
  gcp: {
    url: 'https://accounts.google.com',
    algorithms: ['RS256'],
    // The metadata server caches its tokens, and they have no `jti`.
    singleUse: false,
    offersLogin: true,
    claims: {
      ...person,
      ...texts('hd'),
      project_id: text([...COMPUTE, 'project_id']),
      ...claims('number', ['project_number'], COMPUTE),
      zone: text([...COMPUTE, 'zone']),
      instance_id: text([...COMPUTE, 'instance_id']),
      instance_name: text([...COMPUTE, 'instance_name']),
    },
    otherClaims: [],
    pins: [['sub']],
  },
  entra: {
    url: null,
    algorithms: ['RS256'],
    singleUse: false,
    offersLogin: true,
    claims: {
      ...person,
      ...texts('tid', 'oid', 'azpacr', 'appid', 'appidacr', 'idp', 'idtyp', 'ver', 'xms_mirid'),
    },
    otherClaims: [],
    pins: [['tid', 'oid']],
  },
  oidc: {
    url: null,
    algorithms: ['RS256', 'ES256'],
    singleUse: false,
    offersLogin: true,
    claims: {},
    otherClaims: [],
    pins: null,
  },
} as const satisfies Record<string, IssuerKind>

export type IssuerKindName = keyof typeof issuerKinds
export const ISSUER_KINDS = Object.keys(issuerKinds) as readonly IssuerKindName[]

/** The forms that the values of mandatory claims have: with any other, a rule would match nothing, or too much. */
const PIN_FORMS: Readonly<Record<string, { readonly pattern: RegExp; readonly words: string }>> = {
  repository_id: { pattern: /^\d+$/, words: 'the number of the repository in quotes' },
  repository_owner_id: { pattern: /^\d+$/, words: 'the number of the user or organization in quotes' },
  project_id: { pattern: /^\d+$/, words: 'the number of the project in quotes' },
  namespace_id: { pattern: /^\d+$/, words: 'the number of the group or user in quotes' },
  aws_account: { pattern: /^\d{12}$/, words: 'the 12 digits of the account in quotes' },
  principal_id: { pattern: /^arn:[\w-]+:(?:iam|sts)::\d{12}:.+$/, words: 'the ARN of a role' },
  tid: { pattern: /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, words: "the tenant's GUID in lower case" },
  oid: {
    pattern: /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/,
    words: "the principal's GUID in lower case",
  },
  namespace: { pattern: /^[a-z0-9][a-z0-9-]*$/, words: 'the name of a namespace' },
  service_account: { pattern: /^[a-z0-9][a-z0-9.-]*$/, words: 'the name of a service account' },
}

/** The forms of `sub` where it is mandatory. */
const SUBJECT_FORMS: typeof PIN_FORMS = {
  aws: { pattern: /^arn:[\w-]+:(?:iam|sts)::\d{12}:.+$/, words: 'the ARN of a role' },
  gcp: { pattern: /^\d+$/, words: 'the number of the service account in quotes' },
  kubernetes: {
    pattern: /^system:serviceaccount:[a-z0-9-]+:[a-z0-9.-]+$/,
    words: 'as in "system:serviceaccount:NAMESPACE:NAME"',
  },
}

/** The claims of AWS that the caller itself chooses: they prove nothing. */
const OWN_WORDS = /^request_tags(?:\.|$)/

/**
 * Returns the place of a claim, named as rules name it. Places are fixed by the name alone, so that no token can offer another
 * claim in its place.
 */
export function claimPath(kind: IssuerKindName, name: string): readonly string[] {
  const { claims: known, otherClaims }: IssuerKind = issuerKinds[kind]
  const exact = Object.hasOwn(known, name) ? known[name] : undefined
  if (exact !== undefined) return exact.path
  const dot = name.indexOf('.')
  const object = dot > 0 && Object.hasOwn(known, name.slice(0, dot)) ? known[name.slice(0, dot)] : undefined
  if (object?.hasKeys) return [...object.path, name.slice(dot + 1)]
  return [...(otherClaims ?? []), name]
}

/** Returns the fault of a claim's name in a rule, in words that follow the name; `undefined`: there is none. */
export function claimFault(kind: IssuerKindName, name: string): string | undefined {
  const { claims: known, otherClaims }: IssuerKind = issuerKinds[kind]
  if (kind === 'aws' && OWN_WORDS.test(name))
    return 'is chosen by the caller and proves nothing: use principal_tags or another claim'
  const [first = ''] = name.split('.', 1)
  if (Object.hasOwn(known, name)) {
    if (known[name]?.hasKeys) return `is an object: name one of its members, as in ${name}.team`
    return undefined
  }
  if (Object.hasOwn(known, first) && known[first]?.hasKeys) return undefined
  const suggestion = didYouMean(name, Object.keys(known))
  if (otherClaims !== null && suggestion === '') return undefined
  return `is no claim of the kind ${kind}${suggestion}; it has ${Object.keys(known).join(', ')}`
}

/** Returns the type that a claim has; `undefined`: any. */
export function claimType(kind: IssuerKindName, name: string): 'string' | 'number' | 'boolean' | undefined {
  const known: IssuerKind['claims'] = issuerKinds[kind].claims
  if (Object.hasOwn(known, name)) return known[name]?.type
  return kind === 'aws' || kind === 'kubernetes' ? 'string' : undefined
}

/** Returns the form that a claim's value has where it pins an identity; `undefined`: any. */
export function pinForm(kind: IssuerKindName, name: string): (typeof PIN_FORMS)[string] | undefined {
  return name === 'sub' ? SUBJECT_FORMS[kind] : PIN_FORMS[name]
}
