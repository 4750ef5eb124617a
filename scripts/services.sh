# Written by `sagactl generate` from the table of services.
# shellcheck disable=SC2034
programs=(order payment inventory notification analytics payment-provider)
ports=(8081 8082 8083 8084 8085 8090)
databases=(order payment inventory notification analytics)
