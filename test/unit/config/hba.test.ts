import { describe, expect, it } from 'vitest';
import { hbaMistake } from '../../../src/config/hba.ts';

describe('lines that Postgres reads', () => {
  it.each([
    '',
    '   ',
    '# host all all all bad',
    'local all all peer',
    'local   all   all   peer map=ops # comment',
    'host all all 0.0.0.0/0 md5',
    'host all all ::1/128 scram-sha-256',
    'host replication replicator 10.0.0.0/8 scram-sha-256',
    'host replication replicator 10.0.0.1 255.255.255.255 md5',
    'host all all all trust',
    'host all all samenet trust',
    'host all all .example.com trust',
    'host all all db-1.example.com trust',
    'hostssl all all 0.0.0.0/0 cert clientcert=verify-full map=cn',
    'hostnossl all all 0.0.0.0/0 reject',
    'host a, b "Role With Blank",+group 10.0.0.0/8 md5',
    'host all all 10.0.0.0/8 ldap ldapserver=l ldapprefix="cn=" ldapsuffix=", dc=example"',
    'include /etc/hba.d/more.conf',
    'host all all \\',
  ])('%j', (line) => {
    expect(hbaMistake(line)).toBeNull();
  });
});

describe('lines that keep a server from starting', () => {
  it.each([
    ['hots all all 0.0.0.0/0 md5', /none of them; did you mean `host`/],
    ['host all', /come the database and the user/],
    ['host all all', /comes the address/],
    ['host all all 0.0.0.0/0', /method is missing/],
    ['local all all', /method is missing/],
    ['host all all 0.0.0.0/0 md6', /"md6" is no method; did you mean `md5`/],
    ['host all all 0.0.0.0/33 md5', /0 to 32 bits/],
    ['host all all 10.0.0.1 md5', /10.0.0.1 needs a mask: 10.0.0.1\/32/],
    ['host all all 10.0.0.256 md5', /no address/],
    ['host all all db/24 md5', /not an address with a length/],
    ['host all all 10.0.0.0/8 peer', /local connections only/],
    ['host all all 10.0.0.0/8 cert', /hostssl only/],
    ['local all all gss', /not work for local/],
    ['host all all 10.0.0.0/8 md5 yes', /no name=value/],
    ['host "all all 10.0.0.0/8 md5', /quote does not end/],
  ])('%j', (line, said) => {
    expect(hbaMistake(line)).toMatch(said);
  });
});
