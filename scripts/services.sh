# Written by `sagactl generate` from the table of services.
# shellcheck disable=SC2034
programs=(order payment inventory notification analytics payment-provider)
ports=(8081 9081 8082 9082 8083 9083 8084 9084 8085 9085 8090 9090)
databases=(order payment inventory notification analytics)
