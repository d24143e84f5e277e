#!/usr/bin/env bash
# databases.sh: keeps a database for each service in the Postgres beside it, and the users and passwords as the Secret says
# that is mounted in /etc/passwords. Runs beside Postgres, applies the Secret at the start and whenever it changes, and can
# apply the same again and again. databases.sh --once applies it once.
#
# Each database has an owner of its service's name and a second user, SERVICE_b, who acts as the owner. The Secret names the
# one that the service uses; make-secrets gives the other a new password and changes over, so that both work meanwhile.
set -euo pipefail
passwords=${PASSWORDS:-/etc/passwords}

apply() {
  local name user
  for name in gifticon cart payment mypage; do
    user=$(cat "$passwords/$name-user")
    psql --quiet --no-psqlrc --dbname=postgres --set=ON_ERROR_STOP=1 --set=name="$name" --set=other="${name}_b" \
      --set=user="$user" --set=password="$(cat "$passwords/$name")" <<'SQL' || return 1
select format('create role %I login', :'name')
  where not exists (select from pg_roles where rolname = :'name') \gexec
select format('create role %I login in role %I', :'other', :'name')
  where not exists (select from pg_roles where rolname = :'other') \gexec
select format('alter role %I set role %L', :'other', :'name') \gexec
select format('alter role %I password %L', :'user', :'password') \gexec
select format('create database %I owner %I', :'name', :'name')
  where not exists (select from pg_database where datname = :'name') \gexec
select format('revoke connect on database %I from public', :'name') \gexec
SQL
  done
}

if [ "${1:-}" = --once ]; then
  apply
  exit
fi
trap 'exit 0' TERM INT
applied=
while :; do
  touch /tmp/alive
  # A mounted Secret changes as a whole: its files are behind one link, which is replaced.
  secret=$(readlink "$passwords/..data")
  if [ "$secret" != "$applied" ]; then
    if apply; then
      applied=$secret
      touch /tmp/applied
      echo "the databases and users are as the Secret says"
    else
      echo "the databases cannot be made yet; trying again in 2 s" >&2
    fi
  fi
  sleep 2 &
  wait $!
done
