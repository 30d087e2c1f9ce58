/// All of leat but what needs Asio, which is in leat/asio/.
#pragma once

// Tasks
#include <leat/group.hpp>
#include <leat/spawn.hpp>
#include <leat/task.hpp>
#include <leat/this_task.hpp>

// Waiting
#include <leat/channel.hpp>
#include <leat/context.hpp>
#include <leat/select.hpp>
#include <leat/time.hpp>

// Sharing
#include <leat/sync/barrier.hpp>
#include <leat/sync/concurrent_map.hpp>
#include <leat/sync/condition_variable.hpp>
#include <leat/sync/event.hpp>
#include <leat/sync/latch.hpp>
#include <leat/sync/mutex.hpp>
#include <leat/sync/object_pool.hpp>
#include <leat/sync/once.hpp>
#include <leat/sync/oneshot.hpp>
#include <leat/sync/semaphore.hpp>
#include <leat/sync/shared_mutex.hpp>
#include <leat/sync/single_flight.hpp>
#include <leat/sync/wait_group.hpp>

// Patterns
#include <leat/flow.hpp>

// Running
#include <leat/blocking.hpp>
#include <leat/runtime.hpp>

// Errors
#include <leat/error.hpp>
#include <leat/result.hpp>

// Looking inside
#include <leat/inspect.hpp>
#include <leat/sim.hpp>
