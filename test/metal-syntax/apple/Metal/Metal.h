// The part of Apple's Metal that metal_device.mm uses: see ../Foundation/Foundation.h.
#pragma once
#import <Foundation/Foundation.h>

@protocol MTLFunction
@end

typedef enum : NSUInteger {
  MTLResourceStorageModeShared = 0,
  MTLResourceHazardTrackingModeUntracked = 1 << 8,
} MTLResourceOptions;
static inline constexpr MTLResourceOptions operator|(MTLResourceOptions a, MTLResourceOptions b) {
  return MTLResourceOptions(NSUInteger(a) | NSUInteger(b));
}

@protocol MTLAllocation
@end
@protocol MTLBuffer <MTLAllocation>
@property(readonly) NSUInteger length;
- (void*)contents;
@end

API_AVAILABLE(macos, introduced = 15.0)
@interface MTLResidencySetDescriptor : NSObject
@property(nullable, copy) NSString* label;
@property NSUInteger initialCapacity;
@end
API_AVAILABLE(macos, introduced = 15.0)
@protocol MTLResidencySet
- (void)requestResidency;
- (void)endResidency;
- (void)addAllocation:(id<MTLAllocation>)allocation;
- (void)removeAllocation:(id<MTLAllocation>)allocation;
- (void)commit;
@end

@protocol MTLFence
@end
@protocol MTLComputePipelineState
@property(readonly) NSUInteger maxTotalThreadsPerThreadgroup;
@property(readonly) NSUInteger threadExecutionWidth;
@end
@interface MTLComputePipelineDescriptor : NSObject
@property(nullable, copy) NSString* label;
@property(nullable, strong) id<MTLFunction> computeFunction;
@property BOOL threadGroupSizeIsMultipleOfThreadExecutionWidth;
@property NSUInteger maxTotalThreadsPerThreadgroup;
@end
@class MTLComputePipelineReflection;
typedef enum : NSUInteger { MTLPipelineOptionNone = 0 } MTLPipelineOption;

@protocol MTLLibrary
- (nullable id<MTLFunction>)newFunctionWithName:(NSString*)name;
@end

typedef struct {
  NSUInteger width, height, depth;
} MTLSize;
static inline MTLSize MTLSizeMake(NSUInteger width, NSUInteger height, NSUInteger depth) {
  return {width, height, depth};
}
typedef enum : NSUInteger { MTLDispatchTypeSerial, MTLDispatchTypeConcurrent } MTLDispatchType;
typedef enum : NSUInteger { MTLBarrierScopeBuffers = 1, MTLBarrierScopeTextures = 2 } MTLBarrierScope;

@protocol MTLComputeCommandEncoder
- (void)setComputePipelineState:(id<MTLComputePipelineState>)state;
- (void)setBytes:(const void*)bytes length:(NSUInteger)length atIndex:(NSUInteger)index;
- (void)setBuffer:(nullable id<MTLBuffer>)buffer offset:(NSUInteger)offset atIndex:(NSUInteger)index;
- (void)dispatchThreadgroups:(MTLSize)groups threadsPerThreadgroup:(MTLSize)threads;
- (void)memoryBarrierWithScope:(MTLBarrierScope)scope;
- (void)waitForFence:(id<MTLFence>)fence;
- (void)updateFence:(id<MTLFence>)fence;
- (void)endEncoding;
@end

extern NSString* const MTLCommandBufferErrorDomain;
typedef enum : NSUInteger {
  MTLCommandBufferErrorNone = 0,
  MTLCommandBufferErrorInternal = 1,
  MTLCommandBufferErrorTimeout = 2,
  MTLCommandBufferErrorPageFault = 3,
  MTLCommandBufferErrorAccessRevoked = 4,
  MTLCommandBufferErrorNotPermitted = 7,
  MTLCommandBufferErrorOutOfMemory = 8,
  MTLCommandBufferErrorInvalidResource = 9,
} MTLCommandBufferError;
typedef enum : NSUInteger { MTLCommandBufferStatusCompleted = 4, MTLCommandBufferStatusError = 5 } MTLCommandBufferStatus;

@protocol MTLCommandBuffer
@property(readonly) MTLCommandBufferStatus status;
@property(nullable, readonly) NSError* error;
@property(readonly) CFTimeInterval GPUStartTime;
@property(readonly) CFTimeInterval GPUEndTime;
- (nullable id<MTLComputeCommandEncoder>)computeCommandEncoderWithDispatchType:(MTLDispatchType)type;
- (void)commit;
- (void)waitUntilCompleted;
@end
@protocol MTLCommandQueue
- (nullable id<MTLCommandBuffer>)commandBufferWithUnretainedReferences;
- (void)addResidencySet:(id<MTLResidencySet>)set API_AVAILABLE(macos, introduced = 15.0);
- (void)removeResidencySet:(id<MTLResidencySet>)set API_AVAILABLE(macos, introduced = 15.0);
@end

typedef enum : NSInteger { MTLGPUFamilyApple1 = 1001, MTLGPUFamilyApple7 = 1007 } MTLGPUFamily;

@protocol MTLDevice
@property(readonly) NSString* name;
@property(readonly) uint64_t recommendedMaxWorkingSetSize;
@property(readonly) NSUInteger currentAllocatedSize;
@property(readonly) NSUInteger maxBufferLength;
@property(readonly) NSUInteger maxThreadgroupMemoryLength;
- (BOOL)supportsFamily:(MTLGPUFamily)family;
- (nullable id<MTLCommandQueue>)newCommandQueue;
- (nullable id<MTLFence>)newFence;
- (nullable id<MTLBuffer>)newBufferWithLength:(NSUInteger)length options:(MTLResourceOptions)options;
- (nullable id<MTLBuffer>)newBufferWithBytesNoCopy:(void*)pointer
                                            length:(NSUInteger)length
                                           options:(MTLResourceOptions)options
                                       deallocator:(void (^_Nullable)(void* pointer, NSUInteger length))deallocator;
- (nullable id<MTLLibrary>)newLibraryWithData:(dispatch_data_t)data error:(NSError* __autoreleasing*)error;
- (nullable id<MTLComputePipelineState>)
    newComputePipelineStateWithDescriptor:(MTLComputePipelineDescriptor*)descriptor
                                  options:(MTLPipelineOption)options
                               reflection:(MTLComputePipelineReflection* __autoreleasing*)reflection
                                    error:(NSError* __autoreleasing*)error;
- (nullable id<MTLResidencySet>)newResidencySetWithDescriptor:(MTLResidencySetDescriptor*)descriptor
                                                        error:(NSError* __autoreleasing*)error
    API_AVAILABLE(macos, introduced = 15.0);
@end

extern "C" NSArray<id<MTLDevice>>* MTLCopyAllDevices(void);
