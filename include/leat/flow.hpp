/// The patterns that are made of tasks, channels and groups: limits, fans, pipelines, subscriptions, pools of workers.
#pragma once

#include <leat/flow/broadcast.hpp>
#include <leat/flow/broker.hpp>
#include <leat/flow/bulkhead.hpp>
#include <leat/flow/circuit_breaker.hpp>
#include <leat/flow/fan.hpp>
#include <leat/flow/for_each.hpp>
#include <leat/flow/generate.hpp>
#include <leat/flow/hedge.hpp>
#include <leat/flow/keyed_rate_limiter.hpp>
#include <leat/flow/pipeline.hpp>
#include <leat/flow/progress.hpp>
#include <leat/flow/rate_limiter.hpp>
#include <leat/flow/retry.hpp>
#include <leat/flow/topic_pattern.hpp>
#include <leat/flow/watch.hpp>
#include <leat/flow/worker_pool.hpp>
