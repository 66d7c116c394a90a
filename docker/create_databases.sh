#!/bin/bash
# Run once by the PostgreSQL image on an empty data folder: one database and one owner each for Dagster and MLflow.
set -euo pipefail

for name in dagster mlflow; do
    variable="${name^^}_POSTGRES_PASSWORD"
    psql --set=ON_ERROR_STOP=1 --set=name="$name" --set=password="${!variable:?is not set}" \
        --username "${POSTGRES_USER:-postgres}" --dbname postgres --quiet <<-'SQL'
		CREATE ROLE :"name" LOGIN PASSWORD :'password';
		CREATE DATABASE :"name" OWNER :"name";
		REVOKE CONNECT ON DATABASE :"name" FROM PUBLIC;
	SQL
done
