#!/usr/bin/env bash
# databases.sh: creates a database in Postgres for each service whose user is in the Secret that is mounted in /etc/passwords, with
# that user and its password. Runs in the pod of Postgres, and applies the Secret at the start and when it changes. Applying it again changes
# nothing. databases.sh --once applies it once.
#
# Each database has an owner with the name of its service, and a second user, SERVICE_b, who acts as the owner. The Secret names
# the user that the service uses. To rotate, make-secrets gives the other user a new password and switches to it; meanwhile both
# work.
set -euo pipefail
passwords=${PASSWORDS:-/etc/passwords}

apply() {
  local file name user
  for file in "$passwords"/*-user; do
    name=$(basename "$file" -user)
    user=$(cat "$file")
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
  # Kubernetes replaces a mounted Secret as a whole, by changing one link.
  secret=$(readlink "$passwords/..data")
  if [ "$secret" != "$applied" ]; then
    if apply; then
      applied=$secret
      touch /tmp/applied
      echo "the databases and users match the Secret"
    else
      echo "the Secret cannot be applied yet; next attempt in 2 s" >&2
    fi
  fi
  sleep 2 &
  wait $!
done
